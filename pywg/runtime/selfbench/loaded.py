"""What a daemon of this installation runs on: the interpreter, libcrypto, and packages, each from where."""

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

import pywg
from pywg import _fastpath

PACKAGES = ("cryptography", "uvloop", "pyroute2")


def loaded() -> dict[str, tuple[str, str]]:
    """Version and place of each, "" for what has no place. A package that is missing has no version: "missing"."""
    kernel = os.uname()
    return {
        "pywg": (pywg.__version__, str(Path(pywg.__file__).parent)),
        "libcrypto": _fastpath.libcrypto(),
        platform.python_implementation(): (platform.python_version(), sys.executable),
        **{name: (_version(name), "") for name in PACKAGES},
        kernel.sysname: (kernel.release, kernel.machine),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
