"""Standard output and error that nobody reads, that are closed or full, and pywg in a checkout that is not built."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pywg.cli.main import main
from pywg.manage import client
from pywg.manage import status as manage_status
from pywg.manage.exec import child
from pywg.manage.sight import Rates
from tests.manage import made

ROOT = Path(__file__).parents[2]
PRINTING = [["--help"], ["--version"], ["help"], ["version"], ["genkey"], ["genpsk"], ["stats", "pywgt0"], ["bench"]]
REPLY = b"".join(b"counter_%d=%d\n" % (number, number) for number in range(2_000)) + b"errno=0\n\n"
PROGRAM = """
import sys
from pywg.cli import bench
from pywg.cli.main import main
from pywg.manage import client
bench._measure = lambda seconds: {"filler": ["x" * 60] * 20_000}
bench._lines = lambda found: found["filler"]
client.connect = lambda interface, **_: __import__("socket").socket(fileno=int(sys.argv[1]))
sys.exit(main(sys.argv[2:]))
"""


def run_into(
    stdout: int, arguments: list[str], fd: int = -1, program: str = PROGRAM
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, str(fd), *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd=ROOT,
        pass_fds=[fd] if fd >= 0 else [],
    )


@pytest.mark.parametrize("arguments", PRINTING, ids=lambda arguments: arguments[0])
def test_a_broken_pipe_is_silence(arguments: list[str]) -> None:
    """The reader has gone before the first line: `pywg stats wg0 | head -3` at its worst."""
    near, far = socket.socketpair()
    readable, writable = os.pipe()
    os.close(readable)
    with near, far:
        far.sendall(REPLY)
        ended = run_into(writable, arguments, near.fileno())
    os.close(writable)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize(
    ("encoding", "name", "shown"),
    [
        ("latin-1", "\N{RIGHTWARDS ARROW}.conf", b"?.conf:"),
        ("ascii:surrogateescape", "\N{RIGHTWARDS ARROW}.conf", b"?.conf:"),  # the locale C
        ("utf-8", "\udcff.conf", rb"\udcff.conf:"),
    ],
)
def test_what_can_not_be_printed_is_no_error(tmp_path: Path, encoding: str, name: str, shown: bytes) -> None:
    """An arrow on a terminal of Latin-1, and a path that is no text."""
    (tmp_path / name).write_text("[Interface]\n")
    ended = subprocess.run(
        [sys.executable, "-m", "pywg", "check", str(tmp_path / name)],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert shown in ended.stdout


def test_a_full_disk_is_no_silence() -> None:
    with open("/dev/full", "w") as full:
        ended = run_into(full.fileno(), ["--help"])
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert os.strerror(28) in ended.stderr


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", ">&- 2>&-"])
def test_an_error_that_cant_be_told_is_a_status(closed: str) -> None:
    command = ["sh", "-c", f'exec "$0" -m pywg a/b {closed}', sys.executable]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", "")


@pytest.mark.parametrize("command", ["--help", "--version", "help"])
def test_help_without_a_standard_output(command: str) -> None:
    line = ["sh", "-c", f'exec "$0" -m pywg {command} >&-', sys.executable]
    ended = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("command", "status", "error"),
    [
        ("status pywgt0", 3, ""),
        ("up --help", 0, ""),
        ("check quick.conf", 0, ""),
        ("strip quick.conf", 1, "pywg: standard output is closed\n"),
        ("qr quick.conf", 1, "pywg: standard output is closed\n"),
    ],
)
def test_a_command_without_a_standard_output(tmp_path: Path, command: str, status: int, error: str) -> None:
    """It does what it does; where that is its output, it fails."""
    (tmp_path / "quick.conf").write_text("[Interface]\n")
    line = ["sh", "-c", f'exec "$0" -m pywg {command} >&-', sys.executable]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(line, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert (ended.returncode, ended.stderr) == (status, error)


@pytest.mark.parametrize("arguments", [["status"], ["show", "wg0"], ["show", "all", "dump"]], ids=" ".join)
def test_what_is_seen_without_a_standard_output(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    seen = made.sight(2)
    monkeypatch.setattr(client, "served_as_listed", lambda: [seen.interface])
    monkeypatch.setattr(client, "watch", lambda name: (seen.status, True))
    monkeypatch.setattr(manage_status, "gather", lambda *_: manage_status.Found([(seen, Rates())], {}, []))
    monkeypatch.setattr(sys, "stdout", None)
    child.flush()  # as `pywg exec` does before it forks
    assert main(arguments) == 0


@pytest.mark.parametrize("arguments", [["-f", "pywgt0"], ["pywgt0"], ["bench"]], ids=lambda arguments: arguments[-1])
def test_a_checkout_that_is_not_built_says_what_builds_it(tmp_path: Path, arguments: list[str]) -> None:
    shutil.copytree(ROOT / "pywg", tmp_path / "pywg", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    ended = subprocess.run(
        [sys.executable, "-m", "pywg", *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert re.search(r"pywg\.(_fastpath|dataplane)\S* is not built.*`make venv`", ended.stderr)


def test_ctrl_c_while_modules_are_loaded() -> None:
    """On a busy machine that takes a second, and a person has thought better of it."""
    program = """
import builtins, sys
import pywg.__main__
load = builtins.__import__
def interrupted(name, *rest):
    if name == "pywg.cli.main":
        raise KeyboardInterrupt
    return load(name, *rest)
builtins.__import__ = interrupted
sys.exit(pywg.__main__.main())
"""
    ended = run_into(subprocess.PIPE, ["help"], program=program)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    program = "import sys; sys.modules['cryptography'] = None; " + PROGRAM
    ended = subprocess.run(
        [sys.executable, "-c", program, "-1", "pubkey"],
        input=f"{'A' * 43}=",
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert "the Python package cryptography" in ended.stderr


def test_the_daemons_own_broken_pipe_is_told() -> None:
    """Only our output may break silently: what the daemon does ends with a line."""
    program = """
import sys, types
from pywg.cli.main import main
def run(interface): raise BrokenPipeError(32, "Broken pipe")
sys.modules["pywg.cli.run"] = types.SimpleNamespace(run=run)
sys.exit(main(sys.argv[2:]))
"""
    ended = run_into(subprocess.DEVNULL, ["wg0"], program=program)
    assert ended.returncode == 1
    assert "Broken pipe" in ended.stderr


def test_a_level_that_there_is_not_is_told_in_the_commands_words() -> None:
    ended = run_into(subprocess.PIPE, ["log", "pywgt0", "loud"])
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "LOG_LEVEL" not in ended.stderr
    for word in ("'loud'", "silent", "error", "warning", "info", "debug", "verbose"):
        assert word in ended.stderr
