"""What a daemon of this installation runs on: the interpreter, libcrypto, and packages, each from where."""

import importlib.metadata
import os
import platform
import re
import sys
from pathlib import Path

from pywg import __version__, _fastpath

_DISTRIBUTION = "pywg-tunnel"


def loaded() -> dict[str, tuple[str, str]]:
    """Version and place of each, "" for what has no place. A package that is missing has no version: "missing"."""
    kernel = os.uname()
    return {
        "pywg": (__version__, str(Path(_fastpath.__file__).parent)),
        "libcrypto": _fastpath.libcrypto(),
        platform.python_implementation(): (platform.python_version(), sys.executable),
        **{name: (_version(name), "") for name in _needed()},
        kernel.sysname: (kernel.release, kernel.machine),
    }


def _needed() -> list[str]:
    """The packages that pywg requires."""
    try:
        required = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in required if "extra ==" not in one]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
