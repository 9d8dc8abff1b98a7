"""Two namespaces that several links join, for a peer with several endpoints, and a name server whose answers change."""

import contextlib
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.tunnel.command import CommandError, run
from bench.tunnel.namespace import Namespace
from bench.tunnel.site import UAPI_DIR, poll
from pywg.manage import client
from tests.processes import read, status
from tests.requirements import require_tool

from . import pings

LINKS = {"la": "192.0.2", "lb": "198.51.100", "lc": "203.0.113", "ld": "203.0.114"}


class World:
    """Two namespaces, four links; the far peers are wireguard-go's, the near one is `pywg up`'s, with a name server."""

    def __init__(self, near: Namespace, far: Namespace, folder: Path, pywg: str) -> None:
        self.near, self.far, self.folder, self.pywg = near, far, folder, pywg
        self.interface = f"c{secrets.token_hex(4)}"
        self.key = run("wg", "genkey").strip()
        self.peers: list[str] = []
        """their public keys"""
        self.file = folder / f"{self.interface}.conf"
        self.hosts = folder / "hosts"
        self.names: dict[str, str] = {}
        self.dns: subprocess.Popen[bytes] | None = None

    def write(self, *peers: str, interface: str = "", name: str = "gateway") -> None:
        """The file: of each peer its endpoint, and lines below that."""
        while len(self.peers) < len(peers):
            self.begin_peer(len(self.peers))
        text = f"[Interface]\nPrivateKey = {self.key}\n{interface}\n"
        for number, (public, lines) in enumerate(zip(self.peers, peers, strict=False)):
            text += (
                f"[Peer]\n# Name = {name}\nPublicKey = {public}\nEndpoint = {lines}\n"
                f"AllowedIPs = 10.9.{number}.2/32\nPersistentKeepalive = 1\n"
            )
        addresses = ", ".join(f"10.9.{number}.1/24" for number in range(len(peers)))
        self.file.write_text(text.replace("[Interface]\n", f"[Interface]\nAddress = {addresses}\n", 1))
        self.file.chmod(0o600)

    def serve_names(self, *, ttl: int, **names: str) -> None:
        """A name server; `names` have a domain."""
        self.say(**names)
        arguments = ["--no-resolv", "--no-hosts", f"--addn-hosts={self.hosts}", f"--local-ttl={ttl}", "--user=root"]
        arguments += ["--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file=", "--conf-file=/dev/null"]
        self.dns = self.near.start(
            [require_tool("dnsmasq"), "-k", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        poll(lambda: ":53 " in self.near.run("ss", "-lnu"), "the name server listens")

    def say(self, **names: str) -> None:
        """The name server's answers, from now on."""
        self.names |= names
        self.hosts.write_text("".join(f"{address} {name}.test\n" for name, address in self.names.items()))
        if self.dns is not None:
            self.dns.send_signal(signal.SIGHUP)

    def begin_peer(self, number: int) -> None:
        """A far peer, which listens on port 7000 and so on."""
        key, link = run("wg", "genkey").strip(), f"{self.interface}p{number}"
        self.peers.append(run("wg", "pubkey", stdin=key).strip())
        own = run("wg", "pubkey", stdin=self.key).strip()
        self.far.run(require_tool("wireguard-go"), link)
        self.far.run("wg", "set", link, "private-key", "/dev/stdin", stdin=key)
        self.far.run("wg", "set", link, "listen-port", str(7000 + number), "peer", own, "allowed-ips", "0.0.0.0/0")
        self.far.run("ip", "address", "add", f"10.9.{number}.2/24", "dev", link)
        self.far.run("ip", "link", "set", link, "up")

    def command(self, *arguments: str) -> str:
        return self.near.run(self.pywg, *arguments, str(self.file))

    def endpoint(self, number: int) -> str:
        lines = self.near.run("wg", "show", self.interface, "endpoints").splitlines()
        return dict(line.split() for line in lines)[self.peers[number]]

    def is_at(self, number: int, address: str) -> bool:
        """The peer is there, and answers from there."""
        if self.endpoint(number) != f"{address}:{7000 + number}":
            return False
        with contextlib.suppress(CommandError):
            self.near.run("ping", "-c1", "-W1", f"10.9.{number}.2")
            return True
        return False

    @contextlib.contextmanager
    def pings(self, number: int) -> Iterator[Callable[[], int]]:
        """In the body, a hundred pings a second go to a peer; afterwards, how many were lost."""
        path = self.folder / "pings"
        with path.open("wb") as said:
            argv = ["ping", "-n", "-i", "0.01", f"10.9.{number}.2"]
            process = self.near.start(argv, stdout=said, stderr=subprocess.DEVNULL)
        try:
            yield lambda: found.lost
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()
        found = pings.told(path.read_text())
        assert found.answered > 100, "the control"

    def cut(self, *links: str) -> None:
        """These links of the far end are down, and the others up."""
        for link in LINKS:
            self.far.run("ip", "link", "set", link, "down" if link in links else "up")

    def begin_anew(self) -> None:
        """Without sessions: what doesn't answer shows at once. A daemon looks at what is so, not at each change."""
        self.near.run("ip", "link", "set", self.interface, "down")
        with self.near.entered():
            poll(lambda: client.stats(self.interface)["up"] == "0", "the daemon knows")
        self.near.run("ip", "link", "set", self.interface, "up")

    def companions(self) -> list[int]:
        """Processes of the companion: the guardian, the keeper, the worker."""
        above = {pid: int(status(pid)["PPid"] or 0) for pid in self.near.pids() if b"companion" in read(pid, "cmdline")}
        return sorted(above, key=lambda pid: (above[pid] in above) + (above.get(above[pid]) in above))

    def hooked(self, hook: Path) -> list[dict[str, str]]:
        found = []
        for path in hook.parent.glob(f"{hook.name}.*.env"):
            found.append(dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line))
        return found


@contextlib.contextmanager
def worlds(folder: Path, pywg: str) -> Iterator[World]:
    """One, and its end."""
    tag = secrets.token_hex(3)
    etc = Path("/etc/netns", f"comp-{tag}-near")
    spaces = [Namespace(f"comp-{tag}-{side}") for side in ("near", "far")]
    made: World | None = None
    try:
        etc.mkdir(parents=True)
        (etc / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        for space in spaces:
            space.create()
        for link, net in LINKS.items():
            spaces[0].run("ip", "link", "add", link, "type", "veth", "peer", "name", link, "netns", spaces[1].name)
            for number, space in enumerate(spaces, 1):
                space.run("ip", "address", "add", f"{net}.{number}/24", "dev", link)
                space.run("ip", "link", "set", link, "up")
        made = World(spaces[0], spaces[1], folder, pywg)
        yield made
    finally:
        for space in spaces:
            space.remove()
        for place in (Path("/run/pywg"), UAPI_DIR):  # of a run that failed, and of a daemon that was killed
            for left in place.glob(f"{made.interface}*") if made is not None else ():
                left.unlink(missing_ok=True)
        shutil.rmtree(etc, ignore_errors=True)
