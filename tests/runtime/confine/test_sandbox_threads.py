"""What the threads that parse strangers' bytes may do, tried from inside them; beside each refusal, the same call where
the sandbox is off. dropin: 21."""

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pywg.runtime.confine import landlock
from tests.processes import descriptors
from tests.requirements import require_root
from tests.runtime.daemon.test_service import Foreground, answers, ask, until
from tests.runtime.namespace import ip, run_inside, unique
from tests.runtime.syscall_injection import Inside, inside, thread_of, threads_of

pytestmark = [pytest.mark.netns, pytest.mark.dropin("21")]

# x86-64
OPEN, STAT, SOCKETPAIR, SETSOCKOPT, FCNTL, KILL, UNLINK, TGKILL = 2, 4, 53, 54, 72, 62, 87, 234
SENDTO, NLM_F_REQUEST, RTM_NEWADDR = 44, 1, 20
SO_REUSEPORT, SO_ATTACH_REUSEPORT_CBPF, SO_ATTACH_REUSEPORT_EBPF = 15, 51, 52
AWAY = 1024
IPT_SO_SET_REPLACE = IP6T_SO_SET_REPLACE = 64
SO_ATTACH_FILTER = 26
F_SETOWN = 8
RETURN_ALL = struct.pack("=HBBI", 6, 0, 0, 0xFFFF)  # BPF_RET|BPF_K: a filter that keeps everything


@pytest.fixture(autouse=True)
def _requirements() -> None:
    require_root()


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """Another process of root's."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def _is_stopped(process: subprocess.Popen[bytes]) -> bool:
    """Takes its being stopped, where it is."""
    stopped, _ = os.waitpid(process.pid, os.WUNTRACED | os.WNOHANG)
    return stopped == process.pid


def _udp_descriptor(pid: int) -> int:
    """Of an IPv4 socket: the kernel says so of no descriptor but by its inode."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in rows}
    return next(fd for fd, link in descriptors(pid).items() if link in inodes)


def _attempts(thread: Inside, fd: int, victim: Path, other: subprocess.Popen[bytes]) -> dict[str, str]:
    found = {"stat": thread.call(STAT, thread.put(bytes(victim) + b"\0"), thread.room + AWAY)}
    found["read"] = thread.call(OPEN, thread.put(b"/etc/passwd\0"), os.O_RDONLY)
    found["unlink"] = thread.call(UNLINK, thread.put(bytes(victim) + b"\0"))
    found["tgkill"] = thread.call(TGKILL, other.pid, other.pid, signal.SIGSTOP)
    found["setown"] = thread.call(FCNTL, fd, F_SETOWN, other.pid)
    found["socketpair"] = thread.call(SOCKETPAIR, 1, 1, 0, thread.room)
    code = thread.put(bytes(64) + RETURN_ALL) + 64
    thread.put(struct.pack("=HxxxxxxQ", 1, code) + bytes(48) + RETURN_ALL)
    found["filter"] = thread.call(SETSOCKOPT, fd, 1, SO_ATTACH_FILTER, thread.room, 16)
    found["iptables"] = thread.call(SETSOCKOPT, fd, 0, IPT_SO_SET_REPLACE, thread.room, 64)
    found["ip6tables"] = thread.call(SETSOCKOPT, fd, 41, IP6T_SO_SET_REPLACE, thread.room, 64)
    return found


REFUSED = {
    "stat": "EPERM",
    "unlink": "EPERM",
    "read": "EPERM",
    "tgkill": "EPERM",
    "setown": "EPERM",
    "socketpair": "EPERM",
    "filter": "EPERM",
    "iptables": "EPERM",
    "ip6tables": "EPERM",
}


@pytest.mark.parametrize("thread", ["pywg-rx", "pywg-tx", "pywg-h0"])
@pytest.mark.parametrize("sandbox", ["1", "0"])
def test_from_inside_a_thread_of_the_data_plane(
    thread: str, sandbox: str, tmp_path: Path, other: subprocess.Popen[bytes]
) -> None:
    name = unique("pywgt")
    victim = tmp_path / "victim"
    victim.touch()

    def test() -> None:
        with Foreground(name, PYWG_SANDBOX=sandbox, PYWG_THREADS="3") as daemon:
            until(lambda: answers(name))
            ip("link", "set", name, "up")
            until(lambda: b"sockets_open=1\n" in ask(name, b"stats=1\n\n"))
            until(lambda: f"sandbox_seccomp={sandbox}\n".encode() in ask(name, b"stats=1\n\n"))
            confined = int(sandbox == "1" and landlock.abi() > 0)
            assert f"sandbox_landlock_threads={confined}\n".encode() in ask(name, b"stats=1\n\n")
            pid = daemon.process.pid
            with inside(thread_of(pid, thread)) as stopped:
                found = _attempts(stopped, _udp_descriptor(pid), victim, other)
            assert answers(name)
            refused = len(REFUSED) if sandbox == "1" else 0
            assert f"sandbox_refused={refused}\n".encode() in ask(name, b"stats=1\n\n")
            daemon.process.terminate()
            assert daemon.exit_status() == 0
        if sandbox == "1":
            assert found == REFUSED
            assert not _is_stopped(other)
            assert victim.exists()
        else:
            assert {found.pop("iptables"), found.pop("ip6tables")}.isdisjoint({"EPERM"})  # the kernel may have none
            assert int(found.pop("read")) > 2
            assert found == dict.fromkeys(found, "0")
            assert len(found) == 6
            until(lambda: _is_stopped(other))
            assert not victim.exists()

    run_inside(test)


@pytest.mark.parametrize("sandbox", ["1", "0"])
def test_from_inside_the_threads_of_every_shard(sandbox: str) -> None:
    """Each is as confined as in a daemon with one; the loop alone groups sockets, and by classic BPF."""
    name = unique("pywgt")
    ours = {"pywg-rx": 2, "pywg-tx": 2, "pywg-h0": 2}
    everything = {"read", "group", "steer", "load"}

    def attempts(tid: int, fd: int) -> set[str]:
        """What passes. Without good arguments: the kernel itself says EFAULT, EINVAL or EBADF then, and never EPERM."""
        with inside(tid) as thread:
            found = {"read": thread.call(OPEN, thread.put(b"/etc/passwd\0"), os.O_RDONLY)}
            for what, option in (
                ("group", SO_REUSEPORT),
                ("steer", SO_ATTACH_REUSEPORT_CBPF),
                ("load", SO_ATTACH_REUSEPORT_EBPF),
            ):
                found[what] = thread.call(SETSOCKOPT, fd, socket.SOL_SOCKET, option, 0, 0)
        return {what for what, result in found.items() if result != "EPERM"}

    def test() -> None:
        with Foreground(name, PYWG_SANDBOX=sandbox, PYWG_SHARDS="2", PYWG_THREADS="6") as daemon:
            until(lambda: answers(name))
            ip("link", "set", name, "up")
            until(lambda: b"sockets_open=1\n" in ask(name, b"stats=1\n\n"))
            until(lambda: f"sandbox_seccomp={sandbox}\n".encode() in ask(name, b"stats=1\n\n"))
            pid = daemon.process.pid
            fd = _udp_descriptor(pid)
            threads = {comm: threads_of(pid, comm) for comm in ours}
            assert {comm: len(tids) for comm, tids in threads.items()} == ours
            passes = [attempts(tid, fd) for tids in threads.values() for tid in tids]
            assert passes == [set() if sandbox == "1" else everything] * 6
            assert attempts(pid, fd) == ({"group", "steer"} if sandbox == "1" else everything)
            confined = int(sandbox == "1" and landlock.abi() > 0)
            stats = ask(name, b"stats=1\n\n")
            assert f"sandbox_landlock_threads={confined}\n".encode() in stats
            assert f"sandbox_seccomp_threads={sandbox}\n".encode() in stats
            assert f"sandbox_refused={6 * 4 + 2 if sandbox == '1' else 0}\n".encode() in stats
            daemon.process.terminate()
            assert daemon.exit_status() == 0

    run_inside(test)


def _netlink_descriptor(pid: int) -> int:
    """Of the event loop, to the route family."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/netlink").read_text().splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in rows if row[1] == "0"}
    return next(fd for fd, link in descriptors(pid).items() if link in inodes)


@pytest.mark.parametrize("thread", ["pywg-rx", "pywg-tx", "the loop"])
def test_the_loops_netlink_socket_lends_no_capability(thread: str) -> None:
    """An address for lo, asked for over the descriptor that is open. The loop itself would get it."""
    name = unique("pywgt")

    def test() -> None:
        with Foreground(name) as daemon:
            until(lambda: answers(name) and b"sandbox_seccomp=1\n" in ask(name, b"stats=1\n\n"))
            pid = daemon.process.pid
            body = struct.pack("=BBBBi", socket.AF_INET, 32, 0, 0, 1) + struct.pack(
                "=HH4s", 8, 2, bytes([192, 0, 2, 77])
            )
            message = struct.pack("=IHHII", 16 + len(body), RTM_NEWADDR, NLM_F_REQUEST, 77, 0) + body
            with inside(pid if thread == "the loop" else thread_of(pid, thread)) as stopped:
                sent = stopped.call(SENDTO, _netlink_descriptor(pid), stopped.put(message), len(message), 0, 0, 0)
            assert sent == str(len(message))
            assert ("192.0.2.77" in ip("address", "show", "lo")) == (thread == "the loop")
            daemon.process.terminate()
            assert daemon.exit_status() == 0

    run_inside(test)


WITH_LANDLOCK_ALONE = """
import os, sys
from pywg._fastpath import Plane
from pywg.runtime.confine import landlock
from pywg.runtime.base.libc import prctl
prctl(38, 1)  # PR_SET_NO_NEW_PRIVS
plane = Plane(shards=2, helpers=1, ruleset=landlock.create_ruleset(landlock.abi()) if sys.argv[1] == "confined" else -1)
print(plane.confined, flush=True)
sys.stdin.readline()
open("/etc/passwd").close()  # this thread is as it was
os.kill(int(sys.argv[2]), 0)
plane.close()
print("ended", flush=True)
"""


@pytest.mark.parametrize("thread", ["pywg-rx", "pywg-tx", "pywg-h0"])
@pytest.mark.parametrize("kind", ["confined", "free"])
def test_landlock_alone_holds_these_threads_and_no_other(
    thread: str, kind: str, tmp_path: Path, other: subprocess.Popen[bytes]
) -> None:
    """As from the threads' start until the filter is on, or where it can't be had."""
    if landlock.abi() < 6:
        pytest.skip("this kernel's Landlock knows no signals")
    victim = tmp_path / "victim"
    victim.touch()
    command = [sys.executable, "-c", WITH_LANDLOCK_ALONE, kind, str(other.pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{kind == 'confined'}\n"
        of_the_last_shard = threads_of(process.pid, thread)[1]
        with inside(of_the_last_shard) as stopped:
            found = {
                "read": stopped.call(OPEN, stopped.put(b"/etc/passwd\0"), os.O_RDONLY),
                "make": stopped.call(OPEN, stopped.put(bytes(tmp_path / "new") + b"\0"), os.O_WRONLY | os.O_CREAT),
                "unlink": stopped.call(UNLINK, stopped.put(bytes(victim) + b"\0")),
                "kill": stopped.call(KILL, other.pid, 0),
                "own": stopped.call(TGKILL, process.pid, process.pid, 0),
            }
        assert process.communicate("\n", timeout=30)[0] == "ended\n"
    if kind == "confined":
        assert found == {"read": "EACCES", "make": "EACCES", "unlink": "EACCES", "kill": "EPERM", "own": "0"}
    else:
        assert found.pop("read").isdigit()
        assert found.pop("make").isdigit()
        assert found == {"unlink": "0", "kill": "0", "own": "0"}
