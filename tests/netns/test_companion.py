"""The companion of `pywg up`, beside a real daemon, a real peer and a real name server whose answers change."""

import base64
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel.command import CommandError, run
from bench.tunnel.namespace import Namespace
from bench.tunnel.site import UAPI_DIR, poll
from tests.process_memory import memory
from tests.requirements import require_tool

LONG = 60.0
NOBODY = "65534"
LINKS = {"la": "192.0.2", "lb": "198.51.100", "lc": "203.0.113", "ld": "203.0.114"}
HOSTILE = "$(touch HERE); `id` \"'\\ %s ; x"
HOOK = """#!/bin/sh
env > "$0.$$.new"
{ id -u; grep -E '^Cap(Prm|Eff)' /proc/self/status; } > "$0.$$.who"
mv "$0.$$.new" "$0.$$.env"
"""


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

    def cut(self, *links: str) -> None:
        """These links of the far end are down, and the others up."""
        for link in LINKS:
            self.far.run("ip", "link", "set", link, "down" if link in links else "up")

    def begin_anew(self) -> None:
        """Without sessions: what doesn't answer shows at once."""
        self.near.run("ip", "link", "set", self.interface, "down")
        self.near.run("ip", "link", "set", self.interface, "up")

    def companions(self) -> list[int]:
        """Processes of the companion: the guardian, the keeper, the worker."""
        above = {
            pid: int(_status(pid)["PPid"] or 0) for pid in self.near.pids() if b"companion" in _read(pid, "cmdline")
        }
        return sorted(above, key=lambda pid: (above[pid] in above) + (above.get(above[pid]) in above))

    def hooked(self, hook: Path) -> list[dict[str, str]]:
        found = []
        for path in hook.parent.glob(f"{hook.name}.*.env"):
            found.append(dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line))
        return found


def _read(pid: int, name: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def _status(pid: int) -> dict[str, str]:
    lines = _read(pid, "status").decode().splitlines()
    return {"PPid": "", **{key: value.strip() for key, value in (line.split(":", 1) for line in lines)}}


@pytest.fixture
def world(tmp_path: Path, pywg: str) -> Iterator[World]:
    tag = secrets.token_hex(2)
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
        made = World(spaces[0], spaces[1], tmp_path, pywg)
        yield made
    finally:
        for space in spaces:
            space.remove()
        for folder in (Path("/run/pywg"), UAPI_DIR):  # of a test that failed, and of a daemon that was killed
            for left in folder.glob(f"{made.interface}*") if made is not None else ():
                left.unlink()
        shutil.rmtree(etc, ignore_errors=True)


@pytest.fixture
def hook() -> Iterator[Path]:
    """A program that anyone may run, in a folder where anyone may write."""
    folder = Path(tempfile.mkdtemp(prefix="pywg hook"))
    folder.chmod(0o777)
    program = folder / "a hook"
    program.write_text(HOOK)
    program.chmod(0o755)
    yield program
    shutil.rmtree(folder)


def test_peers_are_where_their_endpoints_are(world: World) -> None:
    """Four peers at a time: each waits for times of WireGuard's."""
    world.cut("lc")
    world.serve_names(ttl=5, moves="192.0.2.2", silent="192.0.2.99")
    world.write(
        "moves.test:7000",
        "silent.test:7001",
        "203.0.113.2:7002\n# pywg.Endpoints = 203.0.114.2:7002",
        "later.test:7003",
        interface="# pywg.Companion = on",
    )
    told = subprocess.run(
        ["ip", "netns", "exec", world.near.name, world.pywg, "up", str(world.file)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "'later.test' has no address: " in told.stderr
    assert "the companion goes on asking" in told.stderr
    assert world.endpoint(1) == "192.0.2.99:7001"
    assert world.endpoint(3) == "(none)"
    world.say(silent="192.0.2.2", later="192.0.2.2")
    poll(lambda: world.is_at(0, "192.0.2.2"), "the first is up", LONG)
    world.say(moves="198.51.100.2")
    poll(lambda: world.is_at(1, "192.0.2.2"), "without an answer, the name is asked for again", LONG)
    poll(lambda: world.is_at(2, "203.0.114.2"), "the second endpoint is taken", LONG)
    world.cut("ld")
    poll(lambda: world.is_at(3, "192.0.2.2"), "one without an address gets it when there is one", LONG)
    poll(lambda: world.is_at(0, "198.51.100.2"), "a name that moves is followed when its time is over", LONG)
    world.begin_anew()
    poll(lambda: world.is_at(2, "203.0.113.2"), "the first endpoint is taken again", LONG)
    world.command("down")


def test_hooks_get_the_facts_and_nothing_else(world: World, hook: Path) -> None:
    """As another user, without a shell: what the operator, a name server or a peer calls itself is text."""
    name = HOSTILE.replace("HERE", str(hook.parent / "touched"))[:64]
    hooks = f"# pywg.Hook = subscribed,handshake,peer_up {hook}"
    world.write("192.0.2.2:7000", interface=hooks, name=name)
    world.command("up")
    events = {"subscribed"}
    poll(lambda: {one["PYWG_EVENT"] for one in world.hooked(hook)} >= events, "it hears the daemon", LONG)
    world.begin_anew()
    events |= {"handshake", "peer_up"}
    poll(lambda: {one["PYWG_EVENT"] for one in world.hooked(hook)} == events, "both hooks ran", LONG)
    for told in world.hooked(hook):
        assert told["PYWG_INTERFACE"] == world.interface
        assert {key for key in told if not key.startswith("PYWG_")} <= {"PATH", "LANG", "PWD", "OLDPWD", "SHLVL", "_"}
        if told["PYWG_EVENT"] == "subscribed":
            continue
        assert told["PYWG_PEER"] == " ".join(name.split())
        assert told["PYWG_ENDPOINT"] == "192.0.2.2:7000"
    for who in hook.parent.glob("*.who"):
        assert who.read_text().split() == [NOBODY, "CapPrm:", "0" * 16, "CapEff:", "0" * 16]
    assert not (hook.parent / "touched").exists()
    world.command("down")


def test_it_has_no_key_and_no_privilege(world: World, hook: Path) -> None:
    world.write("192.0.2.2:7000\n# pywg.Endpoints = gw.test:1", interface=f"# pywg.Hook = subscribed {hook}")
    world.command("up")
    poll(lambda: len(world.companions()) == 3, "all processes run", LONG)
    poll(lambda: len(world.hooked(hook)) > 0, "it hears the daemon", LONG)
    guardian, keeper, worker = world.companions()
    status = _status(worker)
    assert status["Uid"].split()[0] == NOBODY
    assert {status[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {""}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for pid in (guardian, keeper):
        assert int(_status(pid)["CapEff"], 16) == 1 << 5 | 1 << 6 | 1 << 7
    key = base64.b64decode(world.key)
    public = base64.b64decode(world.peers[0])
    for pid in (guardian, keeper, worker):
        parts = [part.data for part in memory(pid)]
        assert any(public in data for data in parts)  # the positive control
        for form in (key, world.key.encode(), key.hex().encode()):
            assert not any(form in data for data in parts)
    world.command("down")
    assert world.companions() == []


def test_a_socket_of_another_user_is_reached(world: World, hook: Path) -> None:
    world.write("192.0.2.2:7000", interface=f"# pywg.Hook = subscribed {hook}")
    world.near.run("env", "PYWG_SOCKET_OWNER=daemon", world.pywg, "up", str(world.file))
    poll(lambda: len(world.hooked(hook)) > 0, "it hears the daemon", LONG)
    assert int(_status(world.companions()[0])["CapEff"], 16) & 1 << 1
    world.command("down")


def test_what_is_killed_comes_back(world: World, hook: Path) -> None:
    world.write("192.0.2.2:7000", interface=f"# pywg.Hook = subscribed {hook}")
    world.command("up")
    poll(lambda: len(world.hooked(hook)) == 1, "it hears the daemon", LONG)
    guardian, keeper, worker = world.companions()

    os.kill(worker, signal.SIGKILL)
    poll(lambda: len(world.hooked(hook)) == 2, "another worker hears the daemon", LONG)
    assert world.companions()[:2] == [guardian, keeper]

    daemon = json.loads(world.near.run(world.pywg, "status", world.interface, "--json"))["interfaces"][0]["daemon"]
    os.kill(daemon["pid"], signal.SIGKILL)
    poll(lambda: world.interface not in world.near.run("ip", "-o", "link"), "the daemon is gone")
    world.near.run(world.pywg, "run", world.interface)
    poll(lambda: len(world.hooked(hook)) == 3, "it hears the next daemon", LONG)
    assert world.companions()[:2] == [guardian, keeper]

    os.kill(keeper, signal.SIGKILL)
    poll(lambda: len(world.hooked(hook)) == 4, "another keeper hears it", LONG)
    assert world.companions()[0] == guardian

    os.kill(guardian, signal.SIGKILL)
    poll(lambda: world.companions() == [], "all end with the first")
    world.command("reload")
    poll(lambda: len(world.hooked(hook)) == 5, "a reload starts another", LONG)
    world.command("down")
    assert world.near.pids() == []
    assert not list(Path("/run/pywg").glob(f"{world.interface}*"))


def test_a_start_that_fails_leaves_no_tunnel(world: World) -> None:
    world.write("192.0.2.2:7000", interface="# pywg.Hook = no_event /bin/true")
    for command in ("up", "companion"):
        done = subprocess.run(
            ["ip", "netns", "exec", world.near.name, world.pywg, command, str(world.file)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 1
        assert "there is no event 'no_event'" in done.stderr
        assert len(done.stderr.splitlines()) <= 2
    assert world.near.pids() == []
    assert world.interface not in world.near.run("ip", "-o", "link")
