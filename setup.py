"""Builds the Cython data plane; all metadata lives in pyproject.toml.

PYWG_DEBUG=1 turns on bounds checks, C assertions and debug symbols; PYWG_SANITIZE=address,undefined, or thread, the
sanitizers of the compiler, and C assertions. A `performance hint:` from Cython fails the build:
in this code every hint is a hidden GIL or a hidden Python object on the packet path.
"""

import contextlib
import io
import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("PYWG_DEBUG", "0") not in ("", "0")
SANITIZE = [f"-fsanitize={names}"] if (names := os.environ.get("PYWG_SANITIZE")) else []
COMPILE = ["-O1", "-g", "-UNDEBUG"] if DEBUG else ["-O3", "-g1", "-fno-semantic-interposition", "-DNDEBUG"]
if SANITIZE:
    COMPILE += ["-O1", "-UNDEBUG", "-fno-omit-frame-pointer", *SANITIZE]
DIRECTIVES = {
    "language_level": "3",
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": True,
    "auto_pickle": False,  # keys and threads are not to be copied
}


def extensions() -> list[Extension]:
    """One extension per .pyx: the entry `pywg._fastpath`, and the stages below it."""
    sources = [Path("pywg/_fastpath.pyx"), *sorted(Path("pywg/_native").glob("*.pyx"))]
    return [
        Extension(
            ".".join(source.with_suffix("").parts),
            [str(source)],
            depends=[str(header) for header in sorted(source.with_suffix("").glob("*.*"))],  # C of its own
            libraries=["crypto"],
            extra_link_args=SANITIZE,
            extra_compile_args=[*COMPILE, "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-unused-function"],
        )
        for source in sources
    ]


def build() -> list[Extension]:
    """Runs Cython, repeating what it says, and refuses to go on past a performance hint."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            modules = cythonize(extensions(), compiler_directives=DIRECTIVES, build_dir="build/cython")
    finally:
        sys.stderr.write(said.getvalue())
    if "performance hint:" in said.getvalue():
        for translated in Path("build/cython").rglob("*.c"):
            translated.unlink()  # else the next build finds nothing to translate, and says nothing
        raise SystemExit("setup.py: Cython gave a performance hint (above); the data plane is built without any")
    return modules


setup(ext_modules=build())
