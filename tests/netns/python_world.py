"""Two namespaces and a link: a program with pywg.Tunnel at the near end, wireguard-go, or none, at the far one."""

import asyncio
import contextlib
import ipaddress
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pywg
from bench.tunnel.builds import ROOT
from bench.tunnel.command import run
from bench.tunnel.namespace import Namespace
from bench.tunnel.site import UAPI_DIR, poll
from tests.requirements import require_tool

PORT = 7000
LONG_S = 30.0
_Result = TypeVar("_Result")


class World:
    """`near` is the namespace of the program, which runs in this process, or in one of its own."""

    def __init__(self, near: Namespace, far: Namespace, folder: Path) -> None:
        self.near, self.far, self.folder = near, far, folder
        self.keys = [run("wg", "genkey").strip() for _ in range(2)]
        self.public = [run("wg", "pubkey", stdin=key).strip() for key in self.keys]
        self.name = f"a{secrets.token_hex(4)}"
        self.peer = f"{self.name}p"

    def text(self, *, interface: str = "", peer: str = "", address: str = "10.9.0.1/24") -> str:
        """A configuration that reaches the far end."""
        return (
            f"[Interface]\nPrivateKey = {self.keys[0]}\nAddress = {address}\n{interface}\n"
            f"[Peer]\nPublicKey = {self.public[1]}\nEndpoint = 192.0.2.2:{PORT}\nAllowedIPs = 10.9.0.2/32\n{peer}\n"
        )

    def write(self, text: str) -> Path:
        path = self.folder / f"{self.name}.conf"
        path.write_text(text)
        path.chmod(0o600)
        return path

    def begin_peer(self) -> None:
        """The far end, which takes all that comes from the near one."""
        self.far.run(require_tool("wireguard-go"), self.peer)
        self.far.run("wg", "set", self.peer, "private-key", "/dev/stdin", stdin=self.keys[1])
        allowed = "10.0.0.0/8"
        self.far.run("wg", "set", self.peer, "listen-port", str(PORT), "peer", self.public[0], "allowed-ips", allowed)
        for number in (2, 3):
            self.far.run("ip", "address", "add", f"10.9.0.{number}/24", "dev", self.peer)
        self.far.run("ip", "link", "set", self.peer, "up")

    def far_preshared_key(self, key: str) -> None:
        file = "/dev/stdin" if key else "/dev/null"
        self.far.run("wg", "set", self.peer, "peer", self.public[0], "preshared-key", file, stdin=key)

    def answers(self, address: str = "10.9.0.2", within_s: int = 1) -> bool:
        """Whether one ping is answered."""
        with contextlib.suppress(Exception):
            self.near.run("ping", "-c1", f"-W{within_s}", address)
            return True
        return False

    def answers_one(self, address: str = "10.9.0.2") -> bool:
        """Whether the only ping that is sent is answered, be it late."""
        return self.answers(address, 20)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Polls, while the program's loop goes on."""
        await asyncio.to_thread(poll, condition, what, LONG_S)

    def play(
        self,
        program: Callable[[], Awaitable[_Result]],
        loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> _Result:
        """Runs a program in this process."""

        async def main() -> _Result:
            return await program()

        with self.near.entered(), asyncio.Runner(loop_factory=loop) as runner:
            return runner.run(main())

    def start(self, program: str, *arguments: str) -> "subprocess.Popen[str]":
        """Runs a program in a process of its own, whose output is a pipe."""
        argv = ["ip", "netns", "exec", self.near.name, sys.executable, "-c", program, *arguments]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, cwd=ROOT)

    def shown(self) -> list[str]:
        """What there is at the near end, but for what an interface gives itself."""
        text = self.near.run("sh", "-c", "ip -o address; for f in -4 -6; do ip $f route; ip $f rule; done")
        return [line for line in text.splitlines() if "fe80:" not in line]

    def nothing_is_left(self) -> None:
        """Of the tunnel: neither an interface nor a file."""
        assert not self.near.run("ip", "-o", "link", "show", "type", "tun")
        assert not (UAPI_DIR / f"{self.name}.sock").exists()
        assert list(Path("/run/pywg").glob(f"{self.name}*")) == []


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    tag = secrets.token_hex(3)
    spaces = [Namespace(f"py-{tag}-{side}") for side in ("near", "far")]
    made: World | None = None
    try:
        for space in spaces:
            space.create()
        spaces[0].run("ip", "link", "add", "la", "type", "veth", "peer", "name", "la", "netns", spaces[1].name)
        for number, space in enumerate(spaces, 1):
            space.run("ip", "address", "add", f"192.0.2.{number}/24", "dev", "la")
            space.run("ip", "link", "set", "la", "up")
        made = World(spaces[0], spaces[1], folder)
        yield made
    finally:
        for space in spaces:
            space.remove()
        for place in (Path("/run/pywg"), UAPI_DIR):
            for left in place.glob(f"{made.name}*") if made is not None else ():
                left.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def served(there: World, *, daemon: bool, **more: str) -> AsyncIterator[pywg.Tunnel]:
    """The tunnel of the world's text, whose far end answers."""
    async with pywg.Tunnel(there.text(**more), name=there.name, daemon=daemon) as tunnel:
        await there.until(there.answers, "the far end answers")
        yield tunnel


def prefix(text: str) -> tuple[bytes, int]:
    network = ipaddress.ip_network(text)
    return network.network_address.packed, network.prefixlen
