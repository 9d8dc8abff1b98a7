"""Two machines on one link, each with one daemon of several interfaces."""

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.tunnel.command import CommandError, run
from bench.tunnel.implementations import find
from bench.tunnel.namespace import Namespace
from bench.tunnel.site import await_start

FOLDER = Path("/var/run/wireguard")


class Machine:
    """A namespace with one daemon of several interfaces, in the foreground unless it is started otherwise."""

    def __init__(self, namespace: Namespace, log: Path, names: list[str]) -> None:
        self.namespace = namespace
        self.log = log
        self.names = names
        self.keys = [run("wg", "genkey").strip() for _ in names]
        self.daemon: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        pywg = find("pywg")
        with self.log.open("ab") as log:
            argv = [pywg.command[0], "run", "-f", *options, *self.names]
            environ = {**os.environ, "LOG_LEVEL": "debug"}
            self.daemon = self.namespace.start(argv, stdout=log, stderr=log, env=environ)
        await_start(self.daemon, self.log, lambda: all(map(self.answers, self.names)), f"{self.names} answer")

    def answers(self, name: str) -> bool:
        with contextlib.suppress(CommandError):
            return "interface" in self.namespace.run("wg", "show", name)
        return False

    def gone(self, name: str) -> bool:
        links = self.namespace.run("ip", "-o", "link")
        return not (FOLDER / f"{name}.sock").exists() and f" {name}:" not in links

    def program(self) -> str:
        return find("pywg").command[0]

    def stats(self, name: str) -> dict[str, str]:
        shown = self.namespace.run(self.program(), "stats", name)
        return dict(line.split("=", 1) for line in shown.splitlines())

    def public(self, number: int) -> str:
        return run("wg", "pubkey", stdin=self.keys[number]).strip()

    def said(self, name: str, text: str) -> bool:
        return any(f"({name})" in line and text in line for line in self.log.read_text().splitlines())


@contextlib.contextmanager
def two_machines(folder: Path, interfaces: int) -> Iterator[tuple[Machine, Machine]]:
    """With so many interfaces each. Their logs are in `folder`."""
    tag = secrets.token_hex(3)
    names = [[f"s{tag}{side}{number}" for number in range(interfaces)] for side in "ab"]
    made = []
    try:
        for side in "ab":
            namespace = Namespace(f"several-{tag}-{side}")
            made.append(namespace)
            namespace.create()
        near, far = made
        near.run("ip", "link", "add", "out", "type", "veth", "peer", "name", "out", "netns", far.name)
        for number, namespace in enumerate(made, 1):
            namespace.run("ip", "address", "add", f"192.0.2.{number}/24", "dev", "out")
            namespace.run("ip", "link", "set", "out", "up")
        yield Machine(near, folder / "near.log", names[0]), Machine(far, folder / "far.log", names[1])
    finally:
        for namespace in made:
            namespace.remove()
        for name in (name for side in names for name in side):  # of daemons that were killed
            for kind in ("sock", "monitor"):
                (FOLDER / f"{name}.{kind}").unlink(missing_ok=True)


def join(near: Machine, far: Machine, number: int, *, behind: tuple[str, str] = ("", "")) -> None:
    """Makes a tunnel of the interfaces of that number; `behind` either machine are such networks too (or nothing)."""
    for own, other, host, peer, network in ((near, far, 1, 2, behind[1]), (far, near, 2, 1, behind[0])):
        name, inner = own.names[number], f"10.9.{number}"
        allowed = ",".join(filter(None, (f"{inner}.0/24", network)))
        own.namespace.run("wg", "set", name, "private-key", "/dev/stdin", stdin=own.keys[number])
        own.namespace.run("wg", "set", name, "listen-port", str(7000 + number))
        own.namespace.run(
            *("wg", "set", name, "peer", other.public(number), "allowed-ips", allowed),
            *("endpoint", f"192.0.2.{peer}:{7000 + number}"),
        )
        own.namespace.run("ip", "address", "add", f"{inner}.{host}/24", "dev", name)
        own.namespace.run("ip", "link", "set", name, "up")


def ping(near: Machine, number: int) -> None:
    """Through the tunnel of that number. The first initiation may come before the far end has opened its socket; the
    second is due 5 s later."""
    near.namespace.run("ping", "-c", "2", "-i", "0.05", "-W", "15", f"10.9.{number}.2")
