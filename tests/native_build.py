"""Cython and C of the tests, built beside the package with the flags of setup.py.

What runs under a sanitizer (tests/sanitizers.py) is built with the same one.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from setup import compile_flags, link_flags, whole

ROOT = Path(__file__).resolve().parents[1]


def build_module(source: Path) -> Path:
    """The extension that a .pyx of the tests becomes, beside it; built only where something has changed."""
    # The compiler itself runs without the sanitizer's runtime.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [sys.executable, "-m", "tests.native", str(source.relative_to(ROOT))]
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    (built,) = source.parent.glob(f"{source.stem}.*.so")
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
    with whole(str(target)) as partial:
        subprocess.run(["cc", "-shared", "-fPIC", *flags, "-o", partial, source], check=True)
    return target
