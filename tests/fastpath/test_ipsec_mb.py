"""A library that calls itself intel-ipsec-mb is used if its version is the one whose layout is known, and it is right.

The right results of the real one are in test_aead_backends, where it is installed.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.requirements import require_tool

ROOT = Path(__file__).parents[2]
FINALIZE_AT = 944 // 8  # chacha20_poly1305_finalize in struct IMB_MGR of 1.3.0
STUB = """
#include <stdint.h>
#include <stdlib.h>
static void init(const void *key, void *ctx, const void *iv, const void *aad, uint64_t n) {}
static void update(const void *key, void *ctx, void *to, const void *from, uint64_t n) {}
static void finalize(void *ctx, void *tag, uint64_t n) {}
unsigned imb_get_version(void) { return VERSION; }
void *alloc_mb_mgr(uint64_t flags) { if (VERSION != 0x10300) abort(); return calloc(200, 8); }
void free_mb_mgr(void *manager) { free(manager); }
void init_mb_mgr_auto(void **manager, int *architecture) {
    manager[FINALIZE - 3] = init;
    manager[FINALIZE - 2] = manager[FINALIZE - 1] = update;
    manager[FINALIZE] = finalize;
    *architecture = ARCHITECTURE;
}
"""


def stub(directory: Path, **macros: int) -> None:
    """A library of that name which does nothing."""
    source = directory / "stub.c"
    source.write_text(STUB)
    defined = [f"-D{name}={value}" for name, value in {"FINALIZE": FINALIZE_AT, "ARCHITECTURE": 1, **macros}.items()]
    library = directory / "libIPSec_MB.so.1"
    command = [require_tool("cc"), "-shared", "-fPIC", "-w", *defined, "-o", str(library), str(source)]
    subprocess.run(command, check=True)


def run(code: str, directory: Path | None = None) -> str:
    """What the code prints in a process that finds the library in `directory`."""
    environ = os.environ if directory is None else os.environ | {"LD_LIBRARY_PATH": str(directory)}
    command = [sys.executable, "-c", f"from pywg.dataplane.crypto import aead_select as aead, ipsec_mb\nprint({code})"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("version", [0x10200, 0x10301, 0x10400, 0x20000])
def test_another_version_is_left_alone(tmp_path: Path, version: int) -> None:
    stub(tmp_path, VERSION=version)
    assert run("'ipsec-mb' in aead.available()", tmp_path) == "False"


def test_a_processor_that_it_does_not_know(tmp_path: Path) -> None:
    stub(tmp_path, VERSION=0x10300, ARCHITECTURE=0)
    assert run("'ipsec-mb' in aead.available()", tmp_path) == "False"


def test_wrong_results_are_not_used(tmp_path: Path) -> None:
    """By name, too: then libcrypto does the work."""
    stub(tmp_path, VERSION=0x10300)
    assert run("'ipsec-mb' in aead.available(), aead.select('ipsec-mb')", tmp_path) == "True evp"


@pytest.mark.parametrize("name", ["libc.so.6", "no-such-library.so", "", "/dev/null"])
def test_what_is_not_that_library(name: str) -> None:
    assert run(f"ipsec_mb.load({name!r})") == "False"
