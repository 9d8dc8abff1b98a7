"""Debian's prometheus and promtool, unpacked by .ci/packages: an installation would start a server on the machine."""

import subprocess
from pathlib import Path

import pytest

from tests.requirements import require_tool

_UNPACKED = Path(__file__).resolve().parents[3] / ".cache" / "debian" / "prometheus" / "usr" / "bin"


def tool(name: str) -> str:
    """The path of one of them; skips the test where there is none."""
    unpacked = _UNPACKED / name
    return str(unpacked) if unpacked.exists() else require_tool(name)


def promtool(*arguments: str, stdin: bytes = b"", cwd: Path | None = None) -> tuple[int, str]:
    """The status, and what it says."""
    argv = [tool("promtool"), *arguments]
    done = subprocess.run(argv, input=stdin, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout.decode()


def must(*arguments: str, stdin: bytes = b"", cwd: Path | None = None) -> None:
    """It has nothing to say against it."""
    status, said = promtool(*arguments, stdin=stdin, cwd=cwd)
    if status:
        pytest.fail(said)
