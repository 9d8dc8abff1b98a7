"""What was compiled: it loads into every CPython from 3.11 on, and has the guards of compiler, linker and loader."""

import re
import subprocess
from pathlib import Path

import pytest
from abi3info import DATAS, FUNCTIONS

from setup import HARDENED, HARDENED_LINK, LIMITED, OLDEST
from tests.requirements import require_tool

ROOT = Path(__file__).resolve().parents[2]
BUILT = sorted((ROOT / "pywg").rglob("*.so"))
SOURCES = sorted((ROOT / "pywg").rglob("*.pyx"))
NOT_OF_THE_LIMITED_API = {"PyMem_GetAllocator", "PyMem_SetAllocator"}
"""Public, and the same in every CPython since 3.5 (pywg/dataplane/sys/reserve.pyx)."""
GUARDED = """
#include <string.h>
#include <stdlib.h>
int copy(const char *text, size_t length);
int copy(const char *text, size_t length) {
    char *volatile other;
    char here[64];
    memcpy(here, text, length);
    other = here;
    return other[1];
}
"""


def read(path: Path, *what: str) -> str:
    """What readelf says."""
    command = [require_tool("readelf"), "--wide", *what, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def unguarded(path: Path) -> set[str]:
    """What the loader would not guard."""
    dynamic, segments = read(path, "--dynamic"), read(path, "--segments")
    found = set()
    if not re.search(r"\((?:FLAGS|FLAGS_1|BIND_NOW)\).*\b(?:BIND_)?NOW\b", dynamic):
        found.add("functions are bound when they are first called")
    if "GNU_RELRO" not in segments:
        found.add("relocations stay writable")
    if not re.search(r"GNU_STACK .* RW +0x", segments):
        found.add("an executable stack")
    if re.search(r"^ +LOAD .* RWE ", segments, re.M):
        found.add("memory that is writable and executable")
    if re.search(r"\((RPATH|RUNPATH|TEXTREL)\)", dynamic):
        found.add("a search path of its own, or relocations of code")
    return found


def wanted(path: Path) -> set[str]:
    """What it needs of other libraries, without versions."""
    return {name.partition("@")[0] for name in re.findall(r"\bUND (\S+)", read(path, "--dyn-syms"))}


def beyond(names: set[str]) -> set[str]:
    """Those of Python's that are no part of the limited API of the oldest Python."""
    stable = {
        symbol.name
        for symbols in (FUNCTIONS, DATAS)
        for symbol, entry in symbols.items()
        if (entry.added.major, entry.added.minor) <= OLDEST
    }
    return {name for name in names if re.match(r"_?Py", name)} - stable


def test_every_module_is_built_once() -> None:
    suffix = ".abi3.so" if LIMITED else ".so"
    assert [path.name.partition(".")[0] for path in BUILT] == [path.stem for path in SOURCES]
    assert [path for path in BUILT if not path.name.endswith(suffix)] == []


@pytest.mark.skipif(not LIMITED, reason="this Python has no limited API")
def test_modules_keep_to_the_limited_api() -> None:
    needed = {name for path in BUILT for name in wanted(path)}
    assert "PyObject_GetAttr" in needed
    assert beyond(needed) == NOT_OF_THE_LIMITED_API


def test_what_is_beyond_the_limited_api_is_found() -> None:
    """Of a later one, or of none; and what is of it is not."""
    later = next(symbol.name for symbol, entry in FUNCTIONS.items() if (entry.added.major, entry.added.minor) > OLDEST)
    assert beyond({later, "_PyLong_New", "PyBytes_AsString", "memcpy"}) == {later, "_PyLong_New"}


def test_the_loader_guards_every_module() -> None:
    assert {path.name: found for path in BUILT if (found := unguarded(path))} == {}


def test_the_compiler_guards_stacks_and_copies() -> None:
    needed = {name for path in BUILT for name in wanted(path)}
    assert "__stack_chk_fail" in needed
    assert [name for name in needed if re.fullmatch(r"__(?:mem|str|v?s)\w+_chk", name)]


def test_what_has_no_guards_is_found(tmp_path: Path) -> None:
    source = tmp_path / "guarded.c"
    source.write_text(GUARDED)
    for name, flags in {
        "with": [*HARDENED, *HARDENED_LINK],
        "without": ["-U_FORTIFY_SOURCE", "-fno-stack-protector", "-Wl,-z,norelro,-z,lazy,-z,execstack,-rpath,/tmp"],
    }.items():
        command = [require_tool("cc"), "-O2", "-w", "-shared", "-fPIC", *flags, str(source), "-o", str(tmp_path / name)]
        subprocess.run(command, check=True, capture_output=True)
    assert unguarded(tmp_path / "with") == set()
    assert {"__stack_chk_fail", "__memcpy_chk"} <= wanted(tmp_path / "with")
    assert len(unguarded(tmp_path / "without")) == 4
    assert not {"__stack_chk_fail", "__memcpy_chk"} & wanted(tmp_path / "without")
