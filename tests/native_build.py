"""Cython and C of the tests, built beside the package with the flags of setup.py.

What runs under a sanitizer (tests/sanitizers.py) is built with the same one.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from setup import compile_flags, link_flags

ROOT = Path(__file__).resolve().parents[1]


def build_module(source: Path, directory: Path) -> Path:
    """The extension that a .pyx becomes, which may cimport the data plane's stages."""
    copy = directory / source.name
    shutil.copy2(source, copy)
    sanitize = os.environ.get("PYWG_SANITIZE", "")
    # The compiler itself runs without the sanitizer's runtime.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    environment |= {
        "CFLAGS": " ".join([*compile_flags(debug=False, sanitize=sanitize), f"-I{source.parent.resolve()}"]),
        "LDFLAGS": " ".join(link_flags(sanitize=sanitize)),
    }
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-q", str(copy)]
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    (built,) = directory.glob(f"{source.stem}.*.so")
    return built


def load_module(built: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(built.name.split(".")[0], built)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_library(source: Path, target: Path, *, sanitize: str) -> Path:
    """A shared library of plain C."""
    flags = [*compile_flags(debug=False, sanitize=sanitize), *link_flags(sanitize=sanitize)]
    subprocess.run(["cc", "-shared", "-fPIC", *flags, "-o", target, source], check=True)
    return target
