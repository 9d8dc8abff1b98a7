"""The root directory of a daemon: nothing can be found there but sockets, whatever seccomp and Landlock would say.
dropin: 4, 5, 21."""

import contextlib
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pywg.runtime.confine import bpf, calls
from tests.requirements import require_root, require_tool
from tests.runtime.daemon.test_service import DIRECTORY, Foreground, answers, ask, environment, gone, until
from tests.runtime.daemon.test_service_log import WITH_A_SYSTEM_LOG
from tests.runtime.namespace import ip, run_inside, unique
from tests.runtime.syscall_injection import inside, thread_of

pytestmark = [pytest.mark.netns, pytest.mark.dropin("21")]

BARE = """
import sys
from pywg.runtime.confine import landlock, root, seccomp
landlock.abi = lambda: 0
seccomp.filters = lambda **_: None
seccomp.restrict = lambda **_: False
{}
from pywg.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""A daemon that no filter and no ruleset holds, only what else there is."""
ROOTLESS = "root.enter_folder = root.enter_empty = lambda *_: False"
THREADS = ("pywg-tx", "pywg-rx", "pywg-h0")
NUMBERS = calls.numbers(bpf.MACHINES["x86_64"].calls)
AT_FDCWD = -100


@pytest.fixture(autouse=True)
def _requirements() -> None:
    require_root()
    for tool in ("ip", "unshare", "setpriv"):
        require_tool(tool)


@pytest.fixture
def name() -> Iterator[str]:
    """Of an interface whose daemon is ended, if the test has left it running."""
    name = unique("pywgr")
    yield name
    if os.path.exists(f"{DIRECTORY}/{name}.sock"):
        os.kill(daemon_of(name), signal.SIGKILL)
        os.unlink(f"{DIRECTORY}/{name}.sock")


def daemon_of(name: str) -> int:
    """The process that serves an interface."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{DIRECTORY}/{name}.sock")
        pid, _, _ = struct.unpack("=3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid)


def started(*command: str, **variables: str) -> None:
    """Starts a daemon in the background."""
    done = subprocess.run(
        command, env=environment(**variables), capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def closed(name: str) -> None:
    until(lambda: answers(name) and b"sandbox_seccomp=1\n" in ask(name, b"stats=1\n\n"))


def ended(name: str) -> None:
    ip("link", "del", name)
    until(lambda: gone(name))


def holds_no_directory(pid: int) -> None:
    """Which would be a way out."""
    open_files = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            open_files.append(os.stat(fd).st_mode)
    assert any(map(stat.S_ISCHR, open_files))
    assert not any(map(stat.S_ISDIR, open_files))


@pytest.mark.parametrize("variables", [{}, {"PYWG_USER": "nobody"}])
def test_a_daemon_in_the_foreground_sees_nothing_but_sockets(name: str, variables: dict[str, str]) -> None:
    def test() -> None:
        with Foreground(name, environ=variables) as daemon:
            closed(name)
            pid = daemon.process.pid
            assert os.path.samefile(f"/proc/{pid}/root", DIRECTORY)
            assert os.path.samefile(f"/proc/{pid}/cwd", DIRECTORY)
            assert {stat.S_IFMT(entry.stat().st_mode) for entry in os.scandir(f"/proc/{pid}/root/")} == {stat.S_IFSOCK}
            holds_no_directory(pid)
            assert b"sandbox_root=1\n" in ask(name, b"stats=1\n\n")
            daemon.process.terminate()
            assert daemon.exit_status() == 0
        assert gone(name)

    run_inside(test)


@pytest.mark.parametrize("variables", [{}, {"PYWG_USER": "nobody"}])
def test_a_daemon_in_the_background_sees_sockets_and_the_folder_of_the_system_log(
    name: str, variables: dict[str, str]
) -> None:
    def test() -> None:
        started(sys.executable, "-m", "pywg", name, **variables)
        closed(name)
        pid = daemon_of(name)
        assert b"sandbox_root=1\n" in ask(name, b"stats=1\n\n")
        log = os.path.dirname(os.path.realpath("/dev/log"))
        mounted = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
        flags = {row[4]: set(row[5].split(",")) for row in mounted}
        assert flags.keys() == {"/", DIRECTORY, log}
        assert {"ro", "nosuid", "nodev", "noexec"} <= flags["/"] & flags[log]
        assert {"nosuid", "nodev", "noexec"} <= flags[DIRECTORY]
        assert os.path.samefile(f"/proc/{pid}/cwd", f"/proc/{pid}/root")
        assert os.path.samefile(f"/proc/{pid}/root{DIRECTORY}/{name}.sock", f"{DIRECTORY}/{name}.sock")
        assert not Path(f"/proc/{pid}/root", "etc").exists()
        holds_no_directory(pid)
        assert f" {DIRECTORY} " not in Path("/proc/self/mountinfo").read_text()
        ended(name)

    run_inside(test)


@pytest.mark.parametrize("place", ["foreground", "background"])
@pytest.mark.parametrize("rooted", [True, False])
def test_from_inside_each_kind_of_thread_without_landlock_and_seccomp(name: str, place: str, rooted: bool) -> None:
    program = BARE.format("" if rooted else ROOTLESS)

    def attempts(pid: int) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for tid in (pid, *(thread_of(pid, thread) for thread in THREADS)):
            with inside(tid) as thread:
                for path in ("/etc/passwd", "/../../etc/passwd", "../" * 20 + "etc/passwd", "/proc/version"):
                    opened = thread.call(NUMBERS["openat"], AT_FDCWD, thread.put(path.encode() + b"\0"), os.O_RDONLY)
                    found.setdefault(path, []).append(opened)
                    if opened.isdigit():
                        assert thread.call(NUMBERS["close"], int(opened)) == "0"
        return found

    def test() -> None:
        way = ("-f",) if place == "foreground" else ()
        command = (sys.executable, "-c", program, *way, name)
        with subprocess.Popen(command, env=environment(PYWG_THREADS="3")) as process:
            until(lambda: answers(name))
            assert f"sandbox_root={int(rooted)}\nsandbox_user=0".encode() in ask(name, b"stats=1\n\n")
            assert b"sandbox_landlock=0\nsandbox_landlock_threads=0\nsandbox_seccomp=0\n" in ask(name, b"stats=1\n\n")
            found = attempts(daemon_of(name))
            ended(name)
            assert process.wait(30) == 0
        assert len(found) == 4
        for opened in found.values():
            assert len(opened) == 1 + len(THREADS)
            if rooted:
                assert set(opened) == {"ENOENT"}
            else:
                assert all(map(str.isdigit, opened))

    run_inside(test)


@pytest.mark.dropin("4")
@pytest.mark.parametrize("variables", [{}, {"PYWG_USER": "nobody"}])
def test_a_system_log_that_is_started_again_is_found_in_the_empty_root(
    name: str, variables: dict[str, str], tmp_path: Path
) -> None:
    """/dev/log leads to another folder, as with systemd."""
    path = tmp_path / "socket"
    (tmp_path / "secret").mkdir()
    for part in (tmp_path, *tmp_path.parents):
        part.chmod(part.stat().st_mode | 0o011)

    def listen() -> socket.socket:
        log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        log.bind(str(path))
        log.settimeout(30)
        path.chmod(0o666)
        return log

    def test() -> None:
        with listen() as first:
            inner = ("unshare", "--mount", "sh", "-c", WITH_A_SYSTEM_LOG.format(tmp_path), "sh", "-")
            started(*inner, sys.executable, "-m", "pywg", name, **variables)
            closed(name)
            assert b"sandbox_root=1\n" in ask(name, b"stats=1\n\n")
            assert ask(name, b"set=1\nnonsense=1\n\n") == b"errno=-22\n\n"
            assert b"no such key" in first.recv(4096)
        path.unlink()
        assert ask(name, b"set=1\nnonsense=2\n\n") == b"errno=-22\n\n"  # nobody hears it
        with listen() as second:
            assert ask(name, b"set=1\nnonsense=3\n\n") == b"errno=-22\n\n"
            heard = second.recv(4096)
            while b"nonsense=3" not in heard and b"no such key" not in heard:
                heard = second.recv(4096)
            ended(name)

    run_inside(test)


def test_without_the_right_to_another_root_it_starts_all_the_same(name: str) -> None:
    def body() -> None:
        before = ("setpriv", "--bounding-set=-sys_chroot", "--inh-caps=-all")
        with Foreground(name, before=before, LOG_LEVEL="info") as daemon:
            closed(name)
            assert b"sandbox_root=0\n" in ask(name, b"stats=1\n\n")
            daemon.process.terminate()
            assert daemon.exit_status() == 0
            assert b"without a root directory of its own: no CAP_SYS_CHROOT" in daemon.stderr.read()
        assert gone(name)
        before = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all")
        started(*before, sys.executable, "-m", "pywg", name)
        closed(name)
        assert b"sandbox_root=0\n" in ask(name, b"stats=1\n\n")
        assert os.path.samefile(f"/proc/{daemon_of(name)}/root", "/")
        ended(name)

    run_inside(body)


FAILS = """
import errno, os, sys
from pywg.runtime.confine import root
call, number = sys.argv[1], int(sys.argv[2])
real, seen = getattr(root, call), 0
def refuse(*arguments):
    global seen
    seen += 1
    if seen == number:
        raise OSError(errno.EPERM, "no")
    return real(*arguments)
setattr(root, call, refuse)
def state():
    return os.stat("/proc/self/ns/mnt").st_ino, os.listdir("/"), os.getcwd(), sorted(os.listdir(sys.argv[3]))
os.chdir("/")
before = state()
try:
    entered = root.enter_empty(sys.argv[3], ["/dev"])
except OSError as error:
    assert error.strerror == "no"
    assert state() == before
    print("as before")
else:
    assert seen == number - 1, seen
    print("entered", entered, sorted(os.listdir("/")))
"""


@pytest.mark.parametrize(("call", "times"), [("unshare", 1), ("mount", 7), ("syscall", 1), ("unmount", 1)])
def test_a_root_that_can_not_be_entered_leaves_all_as_it_was(call: str, times: int, tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    for number in range(1, times + 2):
        arguments = [sys.executable, "-c", FAILS, call, str(number), str(tmp_path)]
        said = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
        if number <= times:
            assert said.stdout == "as before\n", said.stderr
        else:
            top = tmp_path.parts[1]
            assert said.stdout == f"entered True {sorted(['dev', top])}\n", said.stderr


def test_a_configuration_socket_without_a_file(name: str) -> None:
    """The root is quite empty, then."""

    def body() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"\0{name}")
            listener.listen()
            os.set_inheritable(listener.fileno(), True)
            with Foreground(name, fds=(listener.fileno(),), environ={"WG_UAPI_FD": str(listener.fileno())}) as daemon:
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(f"\0{name}")
                    client.sendall(b"stats=1\n\n")
                    assert b"sandbox_root=1\n" in client.recv(1 << 16)
                pid = daemon.process.pid
                assert os.listdir(f"/proc/{pid}/root/") == []
                assert re.findall(r"^\S+ \S+ \S+ \S+ (\S+)", Path(f"/proc/{pid}/mountinfo").read_text(), re.M) == ["/"]
                holds_no_directory(pid)
                daemon.process.terminate()
                assert daemon.exit_status() == 0

    run_inside(body)
