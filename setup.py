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
SANITIZE = os.environ.get("PYWG_SANITIZE", "")
WARNINGS = ["-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-unused-function"]


def compile_flags(*, debug: bool, sanitize: str) -> list[str]:
    """For the C compiler, of the package and of what tests build beside it. `sanitize`: as in PYWG_SANITIZE."""
    flags = ["-O1", "-g", "-UNDEBUG"] if debug else ["-O3", "-g1", "-fno-semantic-interposition", "-DNDEBUG"]
    if sanitize:
        # What is found ends the process: nobody reads a report that a test passes by.
        flags += ["-O1", "-UNDEBUG", "-fno-omit-frame-pointer", f"-fsanitize={sanitize}", "-fno-sanitize-recover=all"]
    return flags


def link_flags(*, sanitize: str) -> list[str]:
    return [f"-fsanitize={sanitize}"] if sanitize else []


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
            depends=["setup.py", *map(str, sorted(source.with_suffix("").glob("*.*")))],  # the latter: C of its own
            libraries=["crypto"],
            extra_link_args=link_flags(sanitize=SANITIZE),
            extra_compile_args=[*compile_flags(debug=DEBUG, sanitize=SANITIZE), *WARNINGS],
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


if __name__ == "__main__":
    setup(ext_modules=build())
