"""One end of the tunnel: a namespace with its addresses, and the daemon that serves the WireGuard interface in it."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import state, usage
from .command import CommandError, run
from .implementations import Implementation
from .namespace import Namespace

LINK = "veth"
LISTEN_PORT = 51820
UAPI_DIR = Path("/var/run/wireguard")
READY_WITHIN_S = 30.0
"""On a busy machine: there the kernel alone takes seconds to make an interface while other namespaces are torn down."""


@dataclass(frozen=True, slots=True)
class Keys:
    """A key pair in wg's base64."""

    private: str
    public: str

    @classmethod
    def generate(cls) -> "Keys":
        """A fresh pair, by the reference tool and not by the daemon under test."""
        private = run("wg", "genkey").strip()
        return cls(private, run("wg", "pubkey", stdin=private).strip())


def poll(condition: Callable[[], bool], what: str, within_s: float = READY_WITHIN_S, every_s: float = 0.005) -> None:
    """Returns as soon as `condition` holds.

    Raises TimeoutError after `within_s` seconds: it names `what`, and tells what is seen of all that was started.
    """
    began = time.monotonic()
    until = began + within_s
    asked = 1
    while not condition():
        now = time.monotonic()
        if now > until:
            often = f"asked {asked} times, the last took {now - began:.3f} s"
            raise TimeoutError(f"not within {within_s:g} s: {what}; {often}\n{state.describe(UAPI_DIR)}")
        time.sleep(every_s)
        asked, began = asked + 1, time.monotonic()


def await_start(
    daemon: subprocess.Popen[bytes], log: Path, ready: Callable[[], bool], what: str, within_s: float = READY_WITHIN_S
) -> None:
    """Returns when the daemon is `ready`, `what` in words. `log`: what it writes.

    CommandError, with the end of that, when it ends before or takes too long.
    """

    def is_ready() -> bool:
        if daemon.poll() is not None:
            raise CommandError(f"the daemon ended with status {daemon.returncode} at its start\n{log_tail(log)}")
        return ready()

    try:
        poll(is_ready, what, within_s)
    except TimeoutError as error:
        raise CommandError(str(error)) from error


def log_tail(log: Path) -> str:
    """The end of what a daemon wrote."""
    return log.read_text(errors="replace")[-2000:] if log.exists() else ""


def outer_address(number: int, family: int) -> str:
    """The address on the veth of site `number`; `family` is 4 or 6."""
    return f"10.77.0.{number}" if family == 4 else f"fd00:77::{number}"


class Site:
    """One end. `number` (1 or 2; 3 for a guest beside one of them) ends its addresses.

    They are outer 10.77.0.N and fd00:77::N, inner 10.78.0.N and fd00:78::N.
    """

    def __init__(
        self,
        number: int,
        *,
        namespace: Namespace,
        interface: str,
        implementation: Implementation | None,
        directory: Path,
    ) -> None:
        self.name = ("near", "far", "guest")[number - 1]
        self.number = number
        self.namespace = namespace
        self.interface = interface
        self.implementation = implementation
        self.keys = Keys.generate()
        self.log = directory / f"{self.name}.log"
        self.daemon: subprocess.Popen[bytes] | None = None
        self.ready_s = 0.0
        self.directory = directory

    def outer(self, family: int) -> str:
        """The address on the veth; `family` is 4 or 6."""
        return outer_address(self.number, family)

    def inner(self, family: int) -> str:
        """The address inside the tunnel; `family` is 4 or 6."""
        return f"10.78.0.{self.number}" if family == 4 else f"fd00:78::{self.number}"

    @property
    def uapi_socket(self) -> Path:
        """Where the daemon answers `wg`; the directory is one for all namespaces."""
        return UAPI_DIR / f"{self.interface}.sock"

    def start(self) -> None:
        """Starts the daemon and returns when its UAPI socket answers; ready_s is how long that took."""
        if self.implementation is None:
            raise ValueError(f"site {self.name} has no daemon")
        self.launch(
            self.implementation.argv(self.interface),
            self._answers,
            f"{self.implementation.name} answers on {self.uapi_socket}",
        )

    def launch(self, argv: list[str], ready: Callable[[], bool], what: str) -> None:
        """Runs the daemon and returns when it is `ready`, `what` in words; ready_s is how long that took.

        CommandError, with the end of its log, when it ends before or takes too long.
        """
        assert self.implementation is not None
        began = time.monotonic()
        with self.log.open("ab") as log:
            self.daemon = self.namespace.start(argv, stdout=log, stderr=log, env=self.implementation.environment())
        await_start(self.daemon, self.log, ready, what)
        self.ready_s = time.monotonic() - began

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, contextlib.suppress(OSError):
            client.settimeout(1)
            client.connect(str(self.uapi_socket))
            client.sendall(b"get=1\n\n")
            return b"errno=0" in client.recv(4096)
        return False

    def configure(self, mtu: int) -> None:
        """Gives the interface its key, port, addresses and MTU, and takes it up."""
        self.wg(
            "set",
            self.interface,
            "listen-port",
            str(LISTEN_PORT),
            "private-key",
            self.secret_file("key", self.keys.private),
        )
        self.bring_up(mtu)

    def bring_up(self, mtu: int) -> None:
        """Gives the interface its addresses and MTU, and takes it up; the daemon knows of it then."""
        self.ip("link", "set", self.interface, "mtu", str(mtu))
        for address in (f"{self.inner(4)}/24", f"{self.inner(6)}/64"):
            self.ip("address", "add", address, "dev", self.interface, *(["nodad"] if ":" in address else []))
        self.ip("link", "set", self.interface, "up")
        self.await_link(up=True)

    def await_link(self, *, up: bool) -> None:
        """Returns when the daemon knows that its interface is up, or down; one without statistics is not asked.

        It looks a moment after each change at what is so by then. Until it knows of an up it hears no datagram, and a
        state that has passed when it looks it never sees.
        """
        poll(lambda: self.stats().get("up", str(int(up))) == str(int(up)), f"{self.name} knows that it is up: {up}")

    def add_peer(self, peer: "Site", *, preshared_key: str | None = None, endpoint: int | None = None) -> None:
        """Makes `peer` a peer with its inner addresses. `endpoint` 4 or 6: also says where it is, over IPv4 or IPv6."""
        command = [
            "set",
            self.interface,
            "peer",
            peer.keys.public,
            "allowed-ips",
            f"{peer.inner(4)}/32,{peer.inner(6)}/128",
        ]
        if preshared_key is not None:
            command += ["preshared-key", self.secret_file("psk", preshared_key)]
        if endpoint is not None:
            host = peer.outer(endpoint) if endpoint == 4 else f"[{peer.outer(endpoint)}]"
            command += ["endpoint", f"{host}:{LISTEN_PORT}"]
        self.wg(*command)

    def uapi(self, request: str, within_s: float = 60.0) -> str:
        """Sends one request, without its blank line, to the UAPI socket and returns the answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(within_s)
            client.connect(str(self.uapi_socket))
            client.sendall(f"{request}\n\n".encode())
            answer = b""
            while not answer.endswith(b"\n\n"):
                if not (more := client.recv(65536)):
                    break
                answer += more
        return answer.decode()

    def secret_file(self, kind: str, secret: str) -> str:
        """Writes a key where `wg` can read it (never on a command line) and returns the path."""
        path = self.directory / f"{self.name}.{kind}"
        path.write_text(secret)
        return str(path)

    def wg(self, *argv: str) -> str:
        """Runs `wg` in the namespace."""
        return self.namespace.run("wg", *argv)

    def ip(self, *argv: str) -> str:
        """Runs `ip` in the namespace."""
        return self.namespace.run("ip", *argv)

    def transferred(self) -> tuple[int, int]:
        """The received and sent bytes that `wg show` reports, all peers together."""
        rows = [line.split("\t") for line in self.wg("show", self.interface, "transfer").splitlines()]
        return sum(int(row[1]) for row in rows), sum(int(row[2]) for row in rows)

    def has_handshake(self) -> bool:
        """Whether a handshake with any peer was ever completed."""
        return any(
            line.split("\t")[1] != "0" for line in self.wg("show", self.interface, "latest-handshakes").splitlines()
        )

    def usage(self) -> usage.Usage:
        """What the daemon has cost so far."""
        return usage.read(self.pid)

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        if self.daemon is None:
            raise ValueError(f"no daemon was started at site {self.name}")
        return self.daemon.pid

    def stats(self) -> dict[str, str]:
        """What `pywg stats INTERFACE` prints, key by key; empty for daemons that have no such command."""
        if self.implementation is None or not self.implementation.has_stats:
            return {}
        lines = self.uapi("stats=1").splitlines()  # as the command asks, and in no time
        return dict(line.split("=", 1) for line in lines if line and not line.startswith("errno="))

    def alive(self) -> bool:
        """Whether the daemon still runs."""
        return self.daemon is not None and self.daemon.poll() is None

    def log_tail(self) -> str:
        """The end of what the daemon wrote."""
        return log_tail(self.log)
