"""The .pyi files say what the compiled modules really have; a module without one has nothing for Python to call."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALLOWLIST = Path(__file__).with_name("stubtest-allowlist.txt")
SHIPPED = sorted(ROOT.glob("pywg/**/*.pyx"))
SOURCES = [*SHIPPED, *sorted(ROOT.glob("tests/native/*.pyx"))]


def _module(source: Path) -> str:
    return ".".join(source.relative_to(ROOT).with_suffix("").parts)


def test_stubs_match_the_compiled_modules() -> None:
    stubbed = [_module(source) for source in SOURCES if source.with_suffix(".pyi").exists()]
    assert {"pywg._fastpath", "tests.native.packets"} <= set(stubbed)
    options = ["--concise", "--ignore-positional-only", "--ignore-unused-allowlist", "--allowlist", str(ALLOWLIST)]
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", *options, *stubbed],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("source", [one for one in SOURCES if not one.with_suffix(".pyi").exists()], ids=_module)
def test_modules_without_a_stub_have_nothing_for_python(source: Path) -> None:
    assert [name for name in vars(importlib.import_module(_module(source))) if not name.startswith("_")] == []


def test_shipped_modules_have_no_faces_for_tests() -> None:
    """What Python sees of them is the roof, and what the roof or the core passes on; the rest is in tests/native."""
    stubbed = {_module(source).removeprefix("pywg.") for source in SHIPPED if source.with_suffix(".pyi").exists()}
    assert stubbed == {
        "_fastpath",
        "dataplane.crypto.aead_select",
        "dataplane.crypto.cookie_mac",
        "dataplane.crypto.noise",
        "dataplane.crypto.secret",
        "dataplane.selfbench",
        "dataplane.sys.reserve",
        "dataplane.sys.seccomp",
        "dataplane.wire.limits",
    }
