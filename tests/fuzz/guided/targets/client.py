"""What the commands read: a key on standard input, and the answers of a daemon that may be any program."""

import base64
import contextlib
import io
import json
from types import SimpleNamespace

from pywg.cli import keys
from pywg.config.uapi import parse_get
from pywg.config.uapi_event_reader import MOST_EVENT, Event, EventReader
from pywg.errors import ConfigError, DeviceError, UapiError
from pywg.manage import client
from pywg.manage.event_text import event_line, event_object
from pywg.runtime.base import processors
from tests.at_once import format_get
from tests.fuzz.guided.choices import Choices
from tests.fuzz.guided.replaced import replaced
from tests.runtime.device_harness import public

MOST_RECEIVED = 4 << 20
FOR_EVENTS = 240
"""First bytes from here on are of texts of events."""
TOKENS = (
    *(b"errno=0\n\n", b"errno=-22\n\n", b"\n\n", b"\n", b"=", b"peers=2\n", b"\x1b[2J", b"\xff", b" ", b"\0"),
    *(base64.b64encode(bytes(range(32))), b"=\n", b"\t", b"max", b"100000", b"0", b"9" * 30),
    *(b"public_key=" + b"42" * 32, b"private_key=", b"preshared_key=", b"endpoint=", b"allowed_ip=", b"::/0"),
    *(
        b"event=unanswered\ntime=1.5\n",
        b"event=drops\ntime=2\n",
        b"event=",
        b"changed=fwmark,peers\n",
        b"initiations=2\n",
        b"last_handshake_time_sec=1",
        b"last_handshake_time_nsec=",
        b"tx_bytes=",
        b"rx_bytes=",
        b"fwmark=",
        b"listen_port=",
    ),
)


def run(data: bytes) -> None:
    choices = Choices(data)
    number = choices.byte()
    case = events if number >= FOR_EVENTS else (public_key, statistics, level, status, quota)[number % 5]
    case(choices)


def events(choices: Choices) -> None:
    """Events are the same however their text comes, and each is one printable line and one object."""
    chunk, text = choices.number(1, 255), choices.rest()[:MOST_EVENT]
    whole, cut = told([text]), told([text[at : at + chunk] for at in range(0, len(text), chunk)])
    assert whole == cut, "other events of the same bytes"
    for event in whole[0]:
        assert event_line("wg0", event, {}).isprintable()
        assert json.loads(json.dumps(event_object("wg0", event, {})))["event"] == event.name


def told(pieces: list[bytes]) -> tuple[list[Event], int | None, bool]:
    """The events of a text in pieces, its errno, and whether it was refused."""
    reader = EventReader()
    found: list[Event] = []
    try:
        for piece in pieces:
            for event in reader.take(piece):
                found.append(event)
    except UapiError:
        return found, reader.errno, True
    return found, reader.errno, False


def public_key(choices: Choices) -> None:
    """The one text of 32 bytes has a public key, and nothing else has."""
    chunk, text = choices.number(1, 255), choices.rest()
    left = [text[at : at + chunk] for at in range(0, len(text), chunk)]
    system = SimpleNamespace(read=lambda fd, length: left.pop(0)[:length] if left else b"")
    output = io.StringIO()
    try:
        with replaced(keys, os=system), contextlib.redirect_stdout(output):
            keys.pubkey()
    except ConfigError as error:
        assert text.strip().decode("latin-1") not in str(error) or len(text.strip()) < 10
        assert not is_key(text.strip())
        return
    assert is_key(text.strip())
    assert output.getvalue() == base64.b64encode(public(base64.b64decode(text.strip()))).decode() + "\n"


def is_key(text: bytes) -> bool:
    with contextlib.suppress(ValueError):
        key = base64.b64decode(text, validate=True)
        return len(key) == 32 and base64.b64encode(key) == text
    return False


class Daemon:
    """Sends pieces, then closes, or the last piece for ever."""

    def __init__(self, choices: Choices) -> None:
        self.forever = bool(choices.byte() & 1)
        self.piece = choices.number(1, 255)
        self.text = choices.rest()
        self.at = self.received = 0

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(self, *_: object) -> None:
        """It is closed."""

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def sendall(self, data: bytes) -> None:
        assert data.endswith(b"\n\n")

    def recv(self, length: int) -> bytes:
        if self.at >= len(self.text):
            sent = b"x" * length if self.forever else b""
        else:
            sent = self.text[self.at : self.at + min(self.piece, length)]
            self.at += len(sent)
        self.received += len(sent)
        assert self.received <= MOST_RECEIVED, "a daemon may take all memory"
        return sent


def asking(choices: Choices) -> contextlib.AbstractContextManager[None]:
    return replaced(client, connect=lambda interface, **_: Daemon(choices))


def refused(error: DeviceError) -> None:
    assert error.strerror
    assert error.strerror.isprintable()


def statistics(choices: Choices) -> None:
    try:
        with asking(choices):
            found = client.stats("wg0")
    except DeviceError as error:
        refused(error)
        return
    assert all(text.isprintable() and text.isascii() for text in (*found, *found.values()))


def level(choices: Choices) -> None:
    try:
        with asking(choices):
            client.set_level("wg0", "debug")
    except DeviceError as error:
        refused(error)


def status(choices: Choices) -> None:
    """A reply to `get=1`: read, or refused; what was read is written so that it reads the same."""
    reply = choices.rest()
    try:
        found = parse_get(reply)
    except UapiError as error:
        assert error.errno
        assert str(error).isprintable()
    else:
        assert parse_get(format_get(found)) == found


def quota(choices: Choices) -> None:
    """A cgroup's file cpu.max."""
    text = choices.rest().decode("utf-8", "replace")
    found = processors.quota(text)
    assert found is None or found >= 0
