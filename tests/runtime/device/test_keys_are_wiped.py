"""Whatever becomes of a request, no copy of its secret keys stays in the process, whose memory is searched."""

import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from tests.process_memory import copies, spellings

PEER = "public_key=" + "07" * 32
CLEAN = [0, 0, 0, 0]


class Daemon:
    """The process and a way to speak to it."""

    def __init__(self, process: "subprocess.Popen[str]", path: Path) -> None:
        self.pid = process.pid
        self.path = path

    @contextmanager
    def connection(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(20)
            client.connect(str(self.path))
            yield client

    def ask(self, *operations: str) -> str:
        """All of them in one packet; the replies, read to the end of the connection."""
        with self.connection() as client:
            client.sendall("".join(operations).encode())
            client.shutdown(socket.SHUT_WR)
            replies = b""
            while chunk := client.recv(1 << 16):
                replies += chunk
        return replies.decode()

    def copies(self, key: bytes) -> list[int]:
        return copies(self.pid, *spellings(key))


@contextmanager
def daemon(directory: Path, *options: str) -> Iterator[Daemon]:
    path = directory / "socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.runtime.keyed_daemon", str(path), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        yield Daemon(process, path)
        process.stdin.close()
        assert process.wait(20) == 0


@pytest.fixture(scope="module")
def wiping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon(tmp_path_factory.mktemp("uapi")) as it:
        yield it


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon(tmp_path_factory.mktemp("uapi"), "--leaky") as it:
        yield it


def new_key() -> bytes:
    """A private key that clamping leaves as it is."""
    key = bytearray(secrets.token_bytes(32))
    key[0] &= 248
    key[31] = (key[31] & 127) | 64
    return bytes(key)


def set_of(*lines: str) -> str:
    return "\n".join(["set=1", *lines, "", ""])


FILLER = [f"allowed_ip=10.{i >> 8}.{i & 255}.0/24" for i in range(1000)]
REFUSED = {
    "a bad line after a private key": [set_of("private_key={key}", "listen_port=x")],
    "a bad line after a preshared key": [set_of(PEER, "preshared_key={key}", "endpoint=nowhere")],
    "a private key that is given twice": [set_of("private_key={key}", "private_key=" + "00" * 32, "listen_port=x")],
    "a preshared key that is given twice": [set_of(PEER, "preshared_key={key}", "preshared_key=" + "00" * 32)],
    "a preshared key for a peer that is not there": [set_of(PEER, "update_only=true", "preshared_key={key}")],
    "a preshared key of a peer to be removed": [set_of(PEER, "remove=true", "preshared_key={key}")],
    "a port that is taken": [set_of("private_key={key}", "listen_port=1", PEER, "preshared_key={key}")],
    "a key with one digit more": [set_of("private_key={key}0")],
    "a key whose last digit is none": [set_of("private_key={short}g")],
    "a key in upper case": [set_of("private_key={KEY}", "x=y")],
    "a key of base64": [set_of("private_key={base64}")],
    "a key where a name should be": [set_of("{key}=private_key")],
    "base64 where a name should be": [set_of("{base64}=")],
    "a line that is a key": [set_of("{key}")],
    "no operation": ["private_key={key}\n\n"],
    "behind another operation": ["get=1\n\n", set_of("private_key={key}", "x=y"), "get=1\n\n"],
    "before another operation": [set_of("private_key={key}", "x=y"), "get=1\n\n", "get=1\n\n"],
    "in a request that outgrows its buffer": [set_of("private_key={key}", PEER, *FILLER, "x=y")],
    "at the end of a long request": [set_of(PEER, *FILLER, "preshared_key={key}", "x=y")],
    "half a request": ["set=1\nprivate_key={key}"],
    "a request without its blank line": ["set=1\nprivate_key={key}\nx=y\n"],
}


class Asked(Protocol):
    def ask(self, *operations: str) -> str:
        """Replies to these operations."""


def ask(it: Asked, operations: list[str], key: bytes) -> str:
    hexadecimal, upper, base64 = (spelling.decode() for spelling in spellings(key)[1:])
    words = {"key": hexadecimal, "KEY": upper, "short": hexadecimal[:-1], "base64": base64 + "="}
    return it.ask(*(operation.format(**words) for operation in operations))


@pytest.mark.parametrize("kind", REFUSED)
def test_nothing_of_a_request_is_left(kind: str, wiping: Daemon) -> None:
    key = new_key()
    ask(wiping, REFUSED[kind], key)
    assert wiping.copies(key) == CLEAN
    assert copies(wiping.pid, key[:31], key.hex()[:63].encode()) == [0, 0]


def test_the_search_finds_what_is_not_wiped(leaky: Daemon) -> None:
    for kind, operations in REFUSED.items():
        key = new_key()
        ask(leaky, operations, key)
        assert any(copies(leaky.pid, *spellings(key), key.hex()[:63].encode())), kind


def test_a_client_that_hangs_up_midway_leaves_nothing(wiping: Daemon) -> None:
    key = new_key()
    with wiping.connection() as client:
        client.sendall(b"get=1\n\nset=1\nprivate_key=" + key.hex().encode() + b"\nlisten_")
        assert client.recv(1 << 16)
        assert any(wiping.copies(key)), "it is there while the request is not whole"
    assert wiping.ask("get=1\n\n")
    assert wiping.copies(key) == CLEAN


def test_a_key_that_is_set_is_in_the_arenas_alone(wiping: Daemon) -> None:
    """Neither set nor get leaves its text, and between two handshakes no library has a copy."""
    first, second, preshared = new_key(), new_key(), new_key()
    for key in (first, second):
        assert ask(wiping, [set_of("private_key={key}")], key) == "errno=0\n\n"
        assert wiping.copies(key) == CLEAN
    assert wiping.copies(first) == CLEAN
    assert ask(wiping, [set_of(PEER, "preshared_key={key}")], preshared) == "errno=0\n\n"
    shown = wiping.ask("get=1\n\n")
    assert second.hex() in shown
    assert preshared.hex() in shown
    assert wiping.copies(second) == CLEAN
    assert wiping.copies(preshared) == CLEAN
    many = [f"public_key={number:064x}\npreshared_key={preshared.hex()}" for number in range(1, 3000)]
    assert wiping.ask(set_of(*many)) == "errno=0\n\n"
    with wiping.connection() as client:  # hangs up when it has seen a part of the reply
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"get=1\n\n")
        assert client.recv(100)
    assert wiping.ask("get=1\n\n").count(preshared.hex()) == 3000
    assert wiping.copies(preshared) == CLEAN
    assert wiping.copies(second) == CLEAN
    assert wiping.ask(set_of("private_key=" + "00" * 32, "replace_peers=true")) == "errno=0\n\n"
    assert wiping.copies(second) == CLEAN
