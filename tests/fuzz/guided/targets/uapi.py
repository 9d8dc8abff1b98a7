"""A stream of UAPI operations to the real server of a device: it is judged as the protocol's text says.

The stream comes whole, and cut anywhere: the replies are the same. What is refused changes nothing, what is accepted
shows in the next `get`, and in a text of the same change that is read again. The first bytes of the input are the cuts.
"""

import asyncio
import errno
import io
import itertools
import re
import socket
from collections.abc import Callable

from pywg.config.model import DeviceChange, DeviceStatus, PeerChange, PeerTrouble
from pywg.config.uapi import format_set, parse_get, parse_troubles
from pywg.runtime.base.feed import Feed
from pywg.runtime.base.log import Level, Log, level_of
from pywg.runtime.base.poller import Poller
from pywg.runtime.uapi.monitor import MonitorServer
from pywg.runtime.uapi.server import UapiServer
from tests.at_once import format_get, parse_set
from tests.fuzz.guided.choices import Choices
from tests.fuzz.guided.uapi_model import Model
from tests.lines import StreamOutput
from tests.runtime.device_harness import DeviceHarness, peer_key

CUTS = 4
MOST_OF_A_LEVEL = 64
"""Bytes of the line `log_level=WORD`, with its end."""
KEYS = tuple(peer_key(number).hex().encode() for number in (1, 2))
PRIVATE = b"42" * 32
SECRET = b"\x58" * 32
SUBSCRIBED = b"event=subscribed\ntime=1700001000.000\n\n"
"""by the harness' clock"""
TOKENS = (
    *(
        b"set=1\n",
        b"get=1\n\n",
        b"stats=1\n\n",
        b"peers=1\n\n",
        b"events=1\n\n",
        b"log_level=debug\n\n",
        b"\n\n",
        b"\n",
        b"=",
        b"errno=0",
        b"\nget=1\n\n",
    ),
    *(b"private_key=" + PRIVATE, b"private_key=" + b"0" * 64, b"listen_port=", b"fwmark=", b"replace_peers=true\n"),
    *(b"public_key=" + key + b"\n" for key in KEYS),
    *(b"preshared_key=" + PRIVATE, b"remove=true\n", b"update_only=true\n", b"replace_allowed_ips=true\n"),
    b"clear_endpoint=true\n",
    b"probe_endpoint=",
    *(b"protocol_version=1\n", b"persistent_keepalive_interval=", b"endpoint=", b"allowed_ip=", b"allowed_ip=-"),
    *(
        b"10.0.0.0/8",
        b"::/0",
        b"192.0.2.1:51820",
        b"[2001:db8::1]:1",
        b"[fe80::1%lo]:2",
        b"[::ffff:1.2.3.4%1]:3",
        b"%1",
    ),
    *(
        b"true",
        b"65535",
        b"65536",
        b"4294967295",
        b"4294967296",
        b"18446744073709551616",
        b"00",
        b"/33",
        b"\xff",
        b"\0",
    ),
)
_OPERATIONS = (b"set=1", b"get=1", b"stats=1", b"peers=1", b"events=1", b"handover=1")


def run(data: bytes) -> None:
    choices = Choices(data)
    up = bool(choices.byte() & 1)
    cuts = sorted(choices.number(0, 0xFFFF) for _ in range(CUTS))
    stream = choices.rest()
    whole = Conversation(up, [stream])
    whole.check(stream)
    edges = [0, *(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(sorted(edges))]
    again = Conversation(up, [piece for piece in pieces if piece])
    assert again.replies == whole.replies, "another judgement of the same bytes"
    assert again.shown() == whole.shown()
    monitors = [Monitored(up, given).replies for given in ([stream], [piece for piece in pieces if piece])]
    assert monitors[0] == monitors[1], "another judgement of the same bytes, by a monitor"


class Conversation:
    """A client that sends some pieces and then nothing more, before a device of its own."""

    def __init__(self, up: bool, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.replies = b""
        self.up = up
        self.harness = DeviceHarness(random=lambda length: bytes(range(length)))
        if up:
            self.harness.device.up()
        self.log = Log("wg0", Level.SILENT, output=StreamOutput(io.StringIO()))
        self.converse(UapiServer(_LISTENER, self, self.log))

    def converse(self, server: UapiServer) -> None:
        server._poller = _CARRIER
        _LOOP.run_until_complete(server._serve(self))  # type: ignore[arg-type]

    # What a socket is to the server

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, *_: object) -> None:
        """The server hangs up."""

    def setblocking(self, flag: bool) -> None:
        assert not flag

    # What a device is to the server

    def apply(self, change: DeviceChange) -> None:
        written = format_set(change)
        assert parse_set(written) == change, "what was read is not what would be written"
        self.harness.device.apply(change)

    def status(self) -> DeviceStatus:
        return self.harness.device.status()

    def stats(self) -> dict[str, int | str]:
        return self.harness.device.stats()

    def troubles(self) -> list[PeerTrouble]:
        return self.harness.device.troubles()

    @property
    def feed(self) -> Feed:
        return self.harness.device.feed

    # What it came to

    def shown(self) -> bytes:
        return plain(bytes(format_get(self.status())))

    def check(self, stream: bytes) -> None:
        """The replies are those of the model, and so is what the device shows at the end."""
        model = Model(self.up)
        replies = self.replies
        for operation in operations(stream):
            name, _, body = operation.partition(b"\n")
            wanted: bytes | None = b""
            code = 0
            if name == b"set=1":
                code = model.set(body)
            elif name == b"events=1" and body[:1] in (b"", b"\n"):
                assert replies == SUBSCRIBED, "a subscriber is told that it is one, and is not asked for more"
                assert not self.harness.device.feed.wanted, "its connection has ended, and its queue is left"
                replies = b""
                break
            elif name.startswith(b"log_level="):
                word = name.removeprefix(b"log_level=").decode("ascii", "replace")
                wrong = body not in (b"", b"\n") or level_of(word) is None or len(name) >= MOST_OF_A_LEVEL
                code = errno.EINVAL if wrong else 0
            elif body not in (b"", b"\n") and not body.startswith(b"\n"):
                code = errno.EINVAL
            elif name == b"handover=1":
                code = errno.EOPNOTSUPP
            else:
                wanted = model.get() if name == b"get=1" else None
            end = b"errno=%d\n\n" % -code
            reply, found, replies = replies.partition(b"errno=")
            number, found, replies = replies.partition(b"\n\n")
            assert found
            assert b"errno=" + number + b"\n\n" == end, (operation, number)
            if wanted is not None:
                assert plain(reply) == wanted, operation
            if name == b"get=1" and not code:
                status = parse_get(reply)
                assert parse_get(format_get(status)) == status
            if name == b"peers=1" and not code:
                assert all(peer.initiations_unanswered or peer.trouble for peer in parse_troubles(reply))
        assert replies == b"", "an answer to nothing"
        assert self.shown() == model.get()


class Monitored(Conversation):
    """The same client at the socket for monitors, of a device that has keys: it changes nothing, and sees none."""

    def converse(self, server: UapiServer) -> None:
        peer = PeerChange(bytes.fromhex(KEYS[0].decode()), preshared_key=bytes(bytearray(SECRET)))
        self.harness.device.apply(DeviceChange(private_key=bytes(bytearray(SECRET)), peers=[peer]))
        before = self.shown()
        monitor = MonitorServer(_LISTENER, self, self.log, configuration=asyncio.Lock(), sleep=at_once)
        super().converse(monitor)
        assert self.shown() == before
        assert self.log.level is Level.SILENT
        assert SECRET[1:31].hex().encode() not in self.replies

    def apply(self, change: DeviceChange) -> None:
        raise AssertionError("a monitor has changed something")


async def at_once(seconds: float) -> None:
    """The monitor's client need not rest here."""


def operations(stream: bytes) -> list[bytes]:
    """Those that are answered."""
    found = []
    while stream:
        operation, blank, rest = stream.partition(b"\n\n")
        whole = operation + (b"\n" if blank else b"")
        name = whole.partition(b"\n")[0]
        if name not in _OPERATIONS and not name.startswith(b"log_level="):
            break  # the server hangs up
        if not whole.endswith(b"\n"):
            break
        found.append(whole)
        stream = rest
    return found


def plain(reply: bytes) -> bytes:
    """What was sent depends on more than the configuration."""
    return re.sub(rb"(?m)^tx_bytes=\d+$", b"tx_bytes=*", reply)


class Carrier(Poller):
    """It carries what a `Conversation` says."""

    async def receive_into(self, client: object, view: memoryview) -> int:
        assert isinstance(client, Conversation)
        assert len(view) > 0
        if not client.pieces:
            return 0
        piece = client.pieces.pop(0)
        taken, rest = piece[: len(view)], piece[len(view) :]
        if rest:
            client.pieces.insert(0, rest)
        view[: len(taken)] = taken
        return len(taken)

    async def news(self, client: object, listen: Callable[[Callable[[], None]], None]) -> bool:
        """What is sent behind `events=1`, and the end of the stream, end the subscription alike."""
        assert isinstance(client, Conversation)
        listen(lambda: None)
        return False

    async def send_all(self, client: object, data: bytes | bytearray) -> None:
        assert isinstance(client, Conversation)
        client.replies += bytes(data)


_LOOP = asyncio.SelectorEventLoop()
_CARRIER = Carrier(_LOOP)
_LISTENER = socket.socket(socket.AF_UNIX)
"""Nothing is accepted from it."""
