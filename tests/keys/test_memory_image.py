"""The memory and registers of a real daemon, at the moments of a life, searched for every secret that it has had.

In use, a secret is in an arena and nowhere else. Once it is of no use, it is nowhere. Both are asked about pieces of
eight bytes, raw, in hexadecimal of both cases and in base64 (tests/process_memory.py). Whatever else an arena holds is
looked for too. With two shards each receives for a peer, and the first takes all handshakes.
"""

import os
import secrets
import signal
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pywg.core.cookie import CookieJar
from tests import cookies, ptrace
from tests.fastpath.packets import checksum
from tests.keys.other_end import INITIATION, OtherEnd, new_key, public
from tests.keys.real_daemon import KINDS, RealDaemon, build_shim, real_daemon, until
from tests.process_memory import Part, Search, arena_contents, image, memory, outside_arenas
from tests.requirements import require_root, require_tool
from tests.runtime.device.test_keys_are_wiped import REFUSED, ask
from tests.runtime.namespace import ip, run_inside, unique

pytestmark = pytest.mark.netns

OF_A_HANDSHAKE = "HXDE"
FLOOD = 300
KEPT_OF_A_FLOOD = 50
LONG = 700
"""Seconds: more than KEY_ZEROING_TIME, and more than COOKIE_SECRET_MAX_AGE twice."""
SHARDS = 2


def echo_request(host: int = 2) -> bytes:
    """A ping from 10.0.0.`host` to the daemon's end of the tunnel, which its kernel answers."""
    body = struct.pack("!BBHHH", 8, 0, 0, 7, 1) + bytes(800)
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 7, 0, 64, 1, 0, bytes((10, 0, 0, host)), bytes((10, 0, 0, 1))
    )
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def all_wait(pid: int) -> bool:
    """Whether each thread waits: one that is in the middle of a batch has not wiped what the batch leaves.

    Counters tell of a message before its batch has ended.
    """
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] == "S" for stat in stats)


def unread(pid: int, port: int) -> bool:
    """Whether a socket of the daemon's at this port has a message that no thread has taken."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and not row[4].endswith(":00000000") for row in rows)


@dataclass
class Life:
    """A daemon's life, and what was found at its moments: of secrets outside of arenas, and of those that should be
    gone, anywhere."""

    daemon: RealDaemon
    secrets: dict[str, bytes] = field(default_factory=dict)
    outside: dict[str, Mapping[str, set[str]]] = field(default_factory=dict)
    not_gone: dict[str, Mapping[str, set[str]]] = field(default_factory=dict)
    in_arenas: set[str] = field(default_factory=set)
    """The names of all secrets that the arenas have had."""

    def look(self, moment: str, gone: Mapping[str, bytes], parts: list[Part] | None = None) -> None:
        """Searches the daemon at one moment."""
        self.daemon.hear()
        if parts is None:
            until(lambda: all_wait(self.daemon.pid))
            parts = image(self.daemon.pid)
        slots = {f"slot {number} of the arenas": slot for number, slot in enumerate(arena_contents(parts))}
        known = Search(self.daemon.told | self.secrets)
        self.outside[moment] = known.find(outside_arenas(parts)) | Search(slots).find(outside_arenas(parts))
        self.in_arenas |= known.find(part for part in parts if part.arena).keys()
        self.not_gone[moment] = Search(gone).find(parts)

    def handshakes(self) -> dict[str, bytes]:
        """What handshakes have computed, but the static shared secrets, which stay as long as both keys."""
        shared = {secret for name, secret in self.secrets.items() if "static shared" in name}
        found = self.daemon.of_kinds(OF_A_HANDSHAKE)
        return {name: secret for name, secret in found.items() if secret not in shared}

    def named(self, *words: str) -> dict[str, bytes]:
        """The secrets whose name begins with one of these."""
        return {name: secret for name, secret in self.secrets.items() if name.startswith(words)}

    def new_peer(self, number: int, static: bytes, *lines: str) -> OtherEnd:
        """A peer whose keys are noted under its number."""
        preshared = secrets.token_bytes(32)
        peer = OtherEnd(self.daemon.ask, public(static), preshared)
        self.secrets[f"preshared key {number}"] = preshared
        self.secrets[f"static shared secret {number}"] = peer.static_shared
        self.daemon.set(
            f"public_key={peer.public_key.hex()}",
            f"preshared_key={preshared.hex()}",
            f"allowed_ip=10.0.0.{number + 1}/32",
            f"endpoint={peer.endpoint}",
            *lines,
        )
        return peer

    def flood(self, peer: OtherEnd, static: bytes) -> None:
        """Initiations with a good MAC1 and nothing behind it, until the daemon has drawn secrets for cookies."""

        def waiting() -> int:
            stats = self.daemon.stats()
            self.daemon.hear()  # a pipe that is full would stop it
            handled = sum(int(value) for name, value in stats.items() if name.startswith("counter_handshake_"))
            return int(stats["counter_rx_handshakes"]) - handled

        jar, before, far = CookieJar(public(static)), self.daemon.of_kinds("C"), peer.far
        others, calm = len(self.daemon.told), waiting()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while self.daemon.of_kinds("C") == before:
                for number in range(FLOOD):
                    body = struct.pack("<II", INITIATION, number) + secrets.token_bytes(108)
                    sock.sendto(jar.add_macs(body, 1.0), ("127.0.0.1", far.port))
        pid = self.daemon.pid
        until(lambda: waiting() <= calm and not unread(pid, far.port) and all_wait(pid))
        self.daemon.hear()
        for name in list(self.daemon.told)[others:-KEPT_OF_A_FLOOD]:
            if not name.startswith(KINDS["C"]):
                del self.daemon.told[name]
        states = self.named("cookie state")
        known = Search(self.daemon.told | {name: key for name, key in self.secrets.items() if name not in states})
        slots = arena_contents(memory(self.daemon.pid))
        (state,) = (slot for slot in slots if not known.find([Part("", 0, slot)]))
        self.secrets[f"cookie state {len(states)}"] = state[:32]  # the newest; what is hashed from it is as good as it


def live(daemon: RealDaemon) -> Life:
    """Sessions of both roles, cookies of both sides, refused requests, expiry, key change, removal, down, the end."""
    life = Life(daemon)
    first, second = new_key(), new_key()
    life.secrets["private key 1"] = first
    daemon.set(f"private_key={first.hex()}")
    near = life.new_peer(1, first)
    session = near.initiate()
    for count in (1, 70, 1):
        near.exchange(session, echo_request(), count)
    life.look("a session", life.handshakes())

    done = life.handshakes()
    far = life.new_peer(2, first, "persistent_keepalive_interval=1000")
    initiation = far.receive(INITIATION)
    life.look("an initiation in flight", done)
    initiation = far.newest(initiation)
    reply = cookies.Responder(far.public_key, os.urandom).make_reply(initiation, far.far)
    far.sock.sendto(reply, ("127.0.0.1", far.far.port))
    until(lambda: bool(daemon.of_kinds("c")))
    life.look("a cookie received", done)
    far.exchange(far.accept(far.newest(initiation)), echo_request(3), 70)
    daemon.set(f"public_key={far.public_key.hex()}", "persistent_keepalive_interval=0")
    until(lambda: "last_handshake_time_sec=0\n" not in daemon.ask("get=1\n\n"))
    life.look("an initiator's session", life.handshakes())

    life.flood(near, first)
    life.look("under load", life.handshakes())

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 1))
        for kind, operations in REFUSED.items():
            key = life.secrets[f"key in a request: {kind}"] = new_key()
            ask(daemon, operations, key)
    life.look("requests refused", life.named("key in a request"))

    daemon.sleep(LONG)
    until(lambda: daemon.stats()["up"] == "1")
    life.look("expired", life.handshakes() | daemon.of_kinds("ScC") | life.named("cookie state"))

    near.initiate()
    life.secrets["private key 2"] = second
    daemon.set(f"private_key={second.hex()}")
    life.look("key changed", life.handshakes() | life.named("private key 1", "static shared"))

    daemon.set("replace_peers=true")
    life.look("peers removed", life.handshakes() | daemon.of_kinds("S") | life.named("preshared", "private key 1"))

    near = life.new_peer(3, second)
    near.initiate()
    life.flood(near, second)
    ip("link", "set", daemon.name, "down")
    until(lambda: daemon.stats()["up"] == "0")
    life.look("interface down", life.handshakes() | daemon.of_kinds("ScC") | life.named("cookie state"))

    ip("link", "set", daemon.name, "up")
    until(lambda: daemon.stats()["up"] == "1")
    daemon.sleep(LONG)  # the load is over
    life.new_peer(4, second).initiate()
    with ptrace.at_exit(daemon.pid, signal.SIGTERM):
        life.look("the end", daemon.told | life.secrets, memory(daemon.pid))
    return life


MOMENTS = (
    "a session",
    "an initiation in flight",
    "a cookie received",
    "an initiator's session",
    "under load",
    "requests refused",
    "expired",
    "key changed",
    "peers removed",
    "interface down",
    "the end",
)


def lived(directory: Path, *, wiping: bool, shards: int) -> Life:
    """The life of a daemon in a namespace of its own."""
    require_root()
    require_tool("ip")
    lives: list[Life] = []

    def test() -> None:
        environ = {"PYWG_SHARDS": str(shards)}
        with real_daemon(unique("pywgk"), build_shim(directory), wiping=wiping, environ=environ) as daemon:
            assert daemon.stats()["shards"] == str(shards)
            lives.append(live(daemon))

    run_inside(test, timeout=180)
    return lives[0]


@pytest.fixture(scope="module", params=[1, SHARDS], ids=["one shard", "two shards"])
def life(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Life:
    return lived(tmp_path_factory.mktemp("image"), wiping=True, shards=request.param)


@pytest.mark.parametrize("moment", MOMENTS)
def test_no_secret_is_outside_of_the_arenas(moment: str, life: Life) -> None:
    assert life.outside[moment] == {}


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_is_of_no_more_use_is_nowhere(moment: str, life: Life) -> None:
    assert life.not_gone[moment] == {}


def test_the_arenas_had_what_they_are_for(life: Life) -> None:
    """The search knows the secrets of this very daemon."""
    kinds = ("S", "E", "c")
    assert all(any(name.startswith(KINDS[kind]) for name in life.in_arenas) for kind in kinds)
    assert {"private key 1", "private key 2", "preshared key 1", "static shared secret 1"} <= life.in_arenas


def test_the_search_finds_each_kind_in_a_daemon_that_does_not_wipe(tmp_path: Path) -> None:
    life = lived(tmp_path, wiping=False, shards=SHARDS)
    found = {name for moment in MOMENTS for name in life.not_gone[moment]}
    outside = {name for moment in MOMENTS for name in life.outside[moment]}

    def kinds(names: set[str]) -> set[str]:
        return {name.rstrip("0123456789 ") for name in names}

    assert set(KINDS.values()) <= kinds(found)
    assert {"private key", "preshared key", "static shared secret"} <= kinds(found)
    assert {*KINDS.values(), "private key", "preshared key"} <= kinds(outside)
    assert sum(name.startswith("key in a request") for name in found) == len(REFUSED)
