"""Who has a name already: what is said about it, and that no number of a process is named that is not the daemon's."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pywg.runtime.base import in_use, namespaces
from pywg.runtime.base.in_use import Daemon, daemon_of, name_taken, served_already

SERVES = """
import socket, sys, threading
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
named = threading.Event()
def serve():
    open("/proc/thread-self/comm", "w").write("wg7")
    named.set()
    threading.Event().wait()
if "--thread" in sys.argv:
    threading.Thread(target=serve, daemon=True).start()
    named.wait()
print("ready", flush=True)
sys.stdin.read()
"""


def listens(path: Path, *arguments: str) -> subprocess.Popen[str]:
    """A process that listens on `path` and has these arguments too, until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVES, str(path), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_daemon_is_named_with_its_pid(tmp_path: Path) -> None:
    path = tmp_path / "wg7.sock"
    with listens(path, "wg7") as process:
        program = Path(f"/proc/{process.pid}/comm").read_text().strip()
        daemon = daemon_of("wg7", directory=str(tmp_path))
        assert daemon == Daemon(str(path), process.pid, program)
        line = name_taken("wg7", directory=str(tmp_path))
        assert line == served_already("wg7", daemon)
        assert f"{program}, PID {process.pid}" in line
        assert "`pywg down wg7`" in line


@pytest.mark.parametrize("arguments", [(), ("wg70",), ("wg", "7")])
def test_a_process_that_serves_something_else_is_not_named(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A daemon may have got its socket from a process that has ended, and whose number another has now."""
    path = tmp_path / "wg7.sock"
    with listens(path, *arguments) as process:
        daemon = daemon_of("wg7", directory=str(tmp_path))
        assert daemon == Daemon(str(path), 0, "")
        line = served_already("wg7", daemon)
        assert f"`rm {path}`" in line
        assert str(process.pid) not in line


def test_a_program_that_serves_by_one_of_its_threads_is_known_and_not_to_be_ended(tmp_path: Path) -> None:
    """Whether or not its command line has the name."""
    for arguments in ((), ("wg7",)):
        path = tmp_path / "wg7.sock"
        with listens(path, "--thread", *arguments) as process:
            daemon = daemon_of("wg7", directory=str(tmp_path))
            assert daemon is not None
            assert (daemon.pid, daemon.is_whole) == (process.pid, False)
            assert daemon.thread in {int(task) for task in os.listdir(f"/proc/{process.pid}/task")} - {process.pid}
            assert daemon.namespace == namespaces.of_this_thread()
        path.unlink()
    with listens(path, "wg7") as process:  # the control
        daemon = daemon_of("wg7", directory=str(tmp_path))
        assert daemon is not None
        assert daemon.is_whole


def test_no_daemon(tmp_path: Path) -> None:
    assert daemon_of("wg7", directory=str(tmp_path)) is None
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "wg7.sock"))
    assert daemon_of("wg7", directory=str(tmp_path)) is None
    line = name_taken("wg7", directory=str(tmp_path))
    assert line.startswith("the name wg7 is taken by another interface")
    assert "del" not in line


def test_a_full_queue_is_a_daemon(tmp_path: Path) -> None:
    path = str(tmp_path / "wg7.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        listener.listen(0)
        client.connect(path)
        assert daemon_of("wg7", directory=str(tmp_path)) == Daemon(path, 0, "")


def test_the_kernels_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not in_use.is_kernels("lo")
    monkeypatch.setattr(in_use, "is_kernels", lambda interface: True)
    line = name_taken("wg7", directory=str(tmp_path))
    assert "the kernel's own WireGuard" in line
    assert "del" not in line
    assert os.linesep not in line
