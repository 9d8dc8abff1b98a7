"""Keys of sessions are in the arenas alone: after handshakes and traffic the process is searched for every one of them.

The other end of the handshake is here, and so knows every key that the process has computed on the way: each output of
HKDF and of the Diffie-Hellman operations that both ends do.
"""

import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from pywg.core import crypto
from pywg.core.events import Activity, Endpoint, KeypairDerived
from pywg.core.tunnel import Tunnel
from pywg.dataplane.crypto.secret import Secret
from tests.aead import each_backend
from tests.fastpath.packets import Udp
from tests.process_memory import copies
from tests.runtime.device.test_keys_are_wiped import Daemon, daemon, new_key, set_of
from tests.runtime.device_harness import public

LOCALHOST = bytes([127, 0, 0, 1])
OURS, THEIRS = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
BURST = 70
TRANSPORT = 4


class OtherEnd:
    """A peer of the process, with a socket of its own."""

    def __init__(self, to: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
        self.secrets: list[bytes] = []
        """Every key that both ends have computed."""
        own, self.static = new_key(), new_key()
        theirs = self.static
        self.daemon = to
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(20)
        self.local = Endpoint(LOCALHOST, self.sock.getsockname()[1])
        self.counter = 0
        hkdf, dh = crypto.hkdf, crypto.dh

        def noted_hkdf(chaining_key: bytes, material: crypto.Key, outputs: int) -> list[bytes]:
            keys = hkdf(chaining_key, material, outputs)
            self.secrets += [bytes(bytearray(key)) for key in keys]
            return keys

        def noted_dh(*keys: object) -> bytes | None:
            shared = dh(*keys)  # type: ignore[arg-type]
            if shared is not None:
                self.secrets.append(bytes(bytearray(shared)))
            return shared

        monkeypatch.setattr(crypto, "hkdf", noted_hkdf)
        monkeypatch.setattr(crypto, "dh", noted_dh)
        self.tunnel = Tunnel(random=os.urandom, wall_ns=time.time_ns, activity=lambda _: Activity())
        self.tunnel.set_private_key(Secret(own), self.now)
        self.tunnel.up(self.now)
        self.peer = self.tunnel.add_peer(public(theirs), self.now)
        self.configure(f"private_key={theirs.hex()}", f"public_key={public(own).hex()}", "allowed_ip=10.0.0.1/32")
        port = re.search(r"listen_port=(\d+)", to.ask("get=1\n\n"))
        assert port is not None
        self.far = Endpoint(LOCALHOST, int(port[1]))

    @property
    def now(self) -> float:
        return time.monotonic()

    def configure(self, *lines: str) -> None:
        assert self.daemon.ask(set_of(*lines)) == "errno=0\n\n"

    def move(self) -> KeypairDerived | None:
        derived = [event for event in self.tunnel.events() if isinstance(event, KeypairDerived)]
        for datagram in self.tunnel.datagrams_to_send():
            self.sock.sendto(datagram.data, ("127.0.0.1", self.far.port))
        return derived[0] if derived else None

    def session(self) -> KeypairDerived:
        """Takes what the process sends until there is a session."""
        while (derived := self.move()) is None:
            self.tunnel.receive_datagram(self.sock.recv(2048), self.far, self.now)
        return derived

    def initiate(self) -> KeypairDerived:
        self.tunnel.handshake_wanted(self.peer, self.now)
        return self.session()

    def exchange(self, session: KeypairDerived, count: int) -> None:
        """So many packets through the process's TUN and back."""
        sealer, opener = ChaCha20Poly1305(bytes(session.send_key)), ChaCha20Poly1305(bytes(session.receive_key))
        inner = Udp(payload=bytes(1000), addresses=(OURS, THEIRS)).build()
        for _ in range(count):
            counter = struct.pack("<Q", self.counter)
            header = struct.pack("<II", TRANSPORT, session.remote_index) + counter
            text = sealer.encrypt(bytes(4) + counter, inner + bytes(-len(inner) % 16), None)
            self.sock.sendto(header + text, ("127.0.0.1", self.far.port))
            self.counter += 1
        returned = 0
        while returned < count:
            datagram = self.sock.recv(2048)
            if datagram[0] == TRANSPORT:
                returned += bool(opener.decrypt(bytes(4) + datagram[8:16], datagram[16:], None))


@pytest.fixture
def other_end(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OtherEnd]:
    with daemon(tmp_path, *request.param) as it:
        end = OtherEnd(it, monkeypatch)
        yield end
        end.sock.close()


def found(end: OtherEnd, session: KeypairDerived) -> tuple[int, int]:
    """(transport keys, other keys of the handshake, with the static one) that are outside the arenas of the process."""
    keys = {bytes(session.send_key), bytes(session.receive_key)}
    others = {*end.secrets, end.static} - keys
    assert len(others) > 10
    transport, rest = copies(end.daemon.pid, *keys), copies(end.daemon.pid, *others)
    return sum(map(bool, transport)), sum(map(bool, rest))


@pytest.mark.parametrize(
    "other_end", [pytest.param(("--plane", one.id), marks=one.marks, id=one.id) for one in each_backend], indirect=True
)
def test_no_key_of_a_session_is_outside_the_arenas(other_end: OtherEnd) -> None:
    session = other_end.initiate()
    other_end.exchange(session, 1)
    other_end.exchange(session, BURST)
    other_end.exchange(session, 1)
    assert found(other_end, session) == (0, 0)


@pytest.mark.parametrize("other_end", [("--plane", "evp")], ids=["evp"], indirect=True)
def test_nor_is_one_where_the_process_initiates(other_end: OtherEnd) -> None:
    other_end.configure(
        f"public_key={other_end.tunnel.public_key.hex()}" if other_end.tunnel.public_key else "",
        f"endpoint=127.0.0.1:{other_end.local.port}",
        "persistent_keepalive_interval=100",
    )
    session = other_end.session()
    while other_end.sock.recv(2048)[0] != TRANSPORT:  # the response is on its way until the session is confirmed
        pass
    other_end.exchange(session, 1)
    assert found(other_end, session) == (0, 0)


@pytest.mark.parametrize("other_end", [("--leaky", "--plane", "evp")], ids=["leaky"], indirect=True)
def test_the_search_finds_keys_that_are_kept(other_end: OtherEnd) -> None:
    session = other_end.initiate()
    transport, others = found(other_end, session)
    assert transport == 2
    assert others > 3
