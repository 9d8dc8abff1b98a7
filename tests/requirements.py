"""What a test needs from the machine. Where it is missing the test says so; under CI that is a failure (conftest)."""

import os
import shutil

import pytest


def require_tool(name: str) -> str:
    """The path of the program `name`; skips the test where it is not installed."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def require_root() -> None:
    """Skips the test unless it runs as root."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for network namespaces and TUN interfaces")
