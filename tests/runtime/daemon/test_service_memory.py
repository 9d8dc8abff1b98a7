"""A daemon that may have no more memory: a change that needs more is refused whole, and all else goes on."""

import hashlib
import os
import resource
import socket
from pathlib import Path

import pytest

from tests.requirements import require_root
from tests.runtime.daemon.test_service import DIRECTORY, Foreground, answers, ask, until
from tests.runtime.namespace import ip, run_inside, unique

pytestmark = pytest.mark.netns

MANY = 40_000
ROOMS = range(0, 24 << 20, 256 << 10) if os.environ.get("PYWG_LONG") else [0, 6 << 20, 12 << 20]
"""Bytes that a daemon may still have."""
NO_MEMORY = b"errno=-12\n\n"


def request(peers: range) -> bytes:
    lines = ["set=1"]
    for number in peers:
        lines.append("public_key=" + hashlib.sha256(str(number).encode()).hexdigest())
        lines.append(f"allowed_ip=10.{number >> 16}.{number >> 8 & 255}.{number & 255}/32")
    return ("\n".join(lines) + "\n\n").encode()


def patient(name: str, data: bytes) -> bytes:
    """The reply, that may take as long as a busy machine needs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(60)
        sock.connect(f"{DIRECTORY}/{name}.sock")
        sock.sendall(data)
        reply = b""
        while not reply.endswith(b"\n\n") and (received := sock.recv(1 << 16)):
            reply += received
        return reply


def limit_memory(pid: int, room: int) -> None:
    status = Path(f"/proc/{pid}/status").read_text()
    size = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmSize"))
    resource.prlimit(pid, resource.RLIMIT_AS, (size + room, size + room))


@pytest.mark.parametrize("room", ROOMS)
def test_a_change_that_there_is_no_memory_for_changes_nothing(room: int) -> None:
    require_root()
    name = unique("pywgt")

    def test() -> None:
        with Foreground(name) as daemon:
            until(lambda: answers(name))
            until(lambda: b"sandbox_seccomp=1\n" in ask(name, b"stats=1\n\n"))
            ip("link", "set", name, "up")
            until(lambda: b"sockets_open=1\n" in ask(name, b"stats=1\n\n"))  # or it would take memory for them later
            assert patient(name, request(range(MANY, MANY + 3))) == b"errno=0\n\n"
            limit_memory(daemon.process.pid, room)
            assert patient(name, request(range(MANY))) == NO_MEMORY
            shown = patient(name, b"get=1\n\n")
            assert (shown.count(b"public_key="), shown.count(b"allowed_ip=")) == (3, 3)
            assert patient(name, request(range(2))) == b"errno=0\n\n"
            assert patient(name, b"get=1\n\n").count(b"allowed_ip=") == 5
            daemon.process.terminate()
            assert daemon.exit_status() == 0
            assert b"out of memory" in daemon.stderr.read()

    run_inside(test, timeout=180)
