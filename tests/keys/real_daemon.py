"""A daemon as an operator has it, sandbox and all, in a namespace of the test's, that tells which secrets it has."""

import contextlib
import os
import shlex
import socket
import struct
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.runtime.namespace import ip

DIRECTORY = "/var/run/wireguard"
PATIENCE_S = 20.0
KINDS = {
    "H": "chaining key or key of the handshake",
    "S": "session key",
    "X": "extracted key",
    "D": "Diffie-Hellman result",
    "E": "ephemeral key",
    "c": "received cookie",
    "C": "cookie secret",
}
_SHIM = Path(__file__).with_name("shim.c")


def build_shim(directory: Path) -> Path:
    """The library to preload."""
    library = directory / "shim.so"
    compiler = shlex.split(sysconfig.get_config_var("CC"))
    subprocess.run([*compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, _SHIM, "-ldl"], check=True)
    return library


def until(condition: Callable[[], bool]) -> None:
    """Waits for it."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@dataclass
class RealDaemon:
    """It runs; `told` are the secrets that it has had, each with its kind before it."""

    name: str
    process: "subprocess.Popen[bytes]"
    clock: Path
    pipe: int
    told: dict[str, bytes] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, *operations: str) -> str:
        """All of them in one packet; the replies, read to the end of the connection."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE_S)
            client.connect(f"{DIRECTORY}/{self.name}.sock")
            client.sendall("".join(operations).encode())
            client.shutdown(socket.SHUT_WR)
            replies = b""
            while chunk := client.recv(1 << 16):
                replies += chunk
        return replies.decode()

    def answers(self) -> bool:
        assert self.process.poll() is None
        try:
            return self.ask("get=1\n\n").endswith("errno=0\n\n")
        except OSError:
            return False

    def set(self, *lines: str) -> None:
        """A UAPI set that succeeds."""
        assert self.ask("\n".join(["set=1", *lines, "", ""])) == "errno=0\n\n"

    def stats(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.ask("stats=1\n\n").split())

    def sleep(self, seconds: int) -> None:
        """Moves the daemon's clock, and has it look at it."""
        (ahead,) = struct.unpack("=q", self.clock.read_bytes())
        with self.clock.open("r+b") as file:  # the daemon has it mapped: it may not be empty for a moment
            file.write(struct.pack("=q", ahead + seconds * 1_000_000_000))
        self.ask("get=1\n\n", "set=1\n\n")

    def hear(self) -> None:
        """Takes what was told so far."""
        data = b""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.pipe, 1 << 16):
                data += chunk
        at = 0
        while at < len(data):
            kind, length = chr(data[at]), data[at + 1]
            self.told[f"{KINDS[kind]} {len(self.told)}"] = data[at + 2 : at + 2 + length]
            at += 2 + length

    def of_kinds(self, kinds: str) -> dict[str, bytes]:
        """The told secrets of some kinds of KINDS."""
        self.hear()
        chosen = tuple(KINDS[kind] for kind in kinds)
        return {name: secret for name, secret in self.told.items() if name.startswith(chosen)}


@contextlib.contextmanager
def real_daemon(
    name: str, shim: Path, *, wiping: bool = True, environ: Mapping[str, str] | None = None
) -> Iterator[RealDaemon]:
    """Starts it, in the namespace of this thread; it answers, and its sandbox is closed."""
    clock = shim.with_name(f"{name}-clock")
    clock.write_bytes(bytes(8))
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("WG_", "PYWG_", "LOG_LEVEL"))}
    env |= {"LD_PRELOAD": str(shim), "KEYS_TELL": str(writable), "KEYS_CLOCK": str(clock), "LOG_LEVEL": "debug"}
    env |= environ or {}
    if not wiping:
        env["KEYS_NOT_WIPED"] = "1"
    command = [sys.executable, "-m", "tests.keys.telling_daemon", str(writable), "-f", name]
    process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, pass_fds=(writable,))
    os.close(writable)
    daemon = RealDaemon(name, process, clock, readable)
    try:
        until(daemon.answers)
        until(lambda: daemon.stats()["sandbox_seccomp"] == "1")
        ip("link", "set", "lo", "up")
        ip("address", "add", "10.0.0.1/24", "dev", name)
        ip("link", "set", name, "up")
        until(lambda: daemon.stats()["up"] == "1")
        yield daemon
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE_S)
        os.close(readable)
