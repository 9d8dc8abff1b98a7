"""The other end of a daemon's tunnel: a peer with a socket of its own, that sends and answers when it is told to."""

import os
import re
import secrets
import select
import socket
import struct
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from pywg.constants import REKEY_TIMEOUT
from pywg.core.events import Activity, Endpoint, KeypairDerived
from pywg.core.tunnel import Tunnel
from pywg.dataplane.crypto.secret import Secret

LOCALHOST = bytes([127, 0, 0, 1])
INITIATION, RESPONSE, COOKIE_REPLY, TRANSPORT = 1, 2, 3, 4


def new_key() -> bytes:
    """A private key that clamping leaves as it is."""
    key = bytearray(secrets.token_bytes(32))
    key[0] &= 248
    key[31] = (key[31] & 127) | 64
    return bytes(key)


def public(private: bytes) -> bytes:
    """The public key of a private one."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def shared(private: bytes, other: bytes) -> bytes:
    """The Diffie-Hellman result of a private key with another's public one."""
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(other))


def set_of(*lines: str) -> str:
    """A UAPI set operation."""
    return "\n".join(["set=1", *lines, "", ""])


class OtherEnd:
    """A peer of the daemon that answers `ask`, a UAPI operation, and has the static key with this public one."""

    def __init__(self, ask: Callable[[str], str], static: bytes, preshared_key: bytes | None = None) -> None:
        self._ask = ask
        self._ahead = 0
        key = new_key()
        self.public_key = public(key)
        self.static_shared = shared(key, static)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(20)
        self.tunnel = Tunnel(random=os.urandom, wall_ns=time.time_ns, activity=lambda _: Activity())
        self.tunnel.set_private_key(Secret(key), self.now)
        self.tunnel.up(self.now)
        self.peer = self.tunnel.add_peer(static, self.now)
        if preshared_key is not None:
            self.tunnel.set_preshared_key(self.peer, Secret(preshared_key))
        self._counters: dict[int, int] = {}

    @property
    def now(self) -> float:
        return time.monotonic() + self._ahead

    @property
    def endpoint(self) -> str:
        """Where it is, as the UAPI writes it."""
        return f"127.0.0.1:{self.sock.getsockname()[1]}"

    @property
    def far(self) -> Endpoint:
        """Where the daemon is."""
        port = re.search(r"listen_port=(\d+)", self._ask("get=1\n\n"))
        assert port is not None
        return Endpoint(LOCALHOST, int(port[1]))

    def move(self) -> KeypairDerived | None:
        """Sends what the tunnel wants to send. Returns the session that has come about."""
        derived = [event for event in self.tunnel.events() if isinstance(event, KeypairDerived)]
        far = self.far
        for datagram in self.tunnel.datagrams_to_send():
            self.sock.sendto(datagram.data, ("127.0.0.1", far.port))
        return derived[0] if derived else None

    def session(self) -> KeypairDerived:
        """Takes what the daemon sends until there is a session."""
        while (derived := self.move()) is None:
            self.tunnel.receive_datagram(self.sock.recv(2048), self.far, self.now)
        return derived

    def initiate(self) -> KeypairDerived:
        """A session that this end begins, long after the one before by its own clock."""
        self._ahead += REKEY_TIMEOUT
        self.tunnel.handshake_wanted(self.peer, self.now)
        return self.session()

    def accept(self, initiation: bytes) -> KeypairDerived:
        """Answers an initiation, and waits for the first packet: before, the daemon may not have the session."""
        self.tunnel.receive_datagram(initiation, self.far, self.now)
        session = self.session()
        self.receive(TRANSPORT)
        return session

    def receive(self, kind: int) -> bytes:
        """The next datagram of this type. An empty one, by which the daemon asks why nobody answers, has none."""
        while (datagram := self.sock.recv(2048))[:1] != bytes((kind,)):
            pass
        return datagram

    def newest(self, datagram: bytes) -> bytes:
        """The last of its type that has come since, or itself: what is answered late has been sent again by then."""
        while select.select([self.sock], [], [], 0)[0]:
            later = self.sock.recv(2048)
            datagram = later if later[:1] == datagram[:1] else datagram
        return datagram

    def send(self, session: KeypairDerived, inner: bytes, count: int = 1) -> None:
        """Sends an inner packet so often; an empty one is a keepalive."""
        sealer = ChaCha20Poly1305(bytes(session.send_key))
        first = self._counters.get(session.remote_index, 0)
        self._counters[session.remote_index] = first + count
        port = self.far.port
        for number in range(first, first + count):
            counter = struct.pack("<Q", number)
            header = struct.pack("<II", TRANSPORT, session.remote_index) + counter
            text = sealer.encrypt(bytes(4) + counter, inner + bytes(-len(inner) % 16), None)
            self.sock.sendto(header + text, ("127.0.0.1", port))

    def exchange(self, session: KeypairDerived, inner: bytes, count: int) -> None:
        """Sends an inner packet so often, and waits for as many packets in return; the last word is a keepalive."""
        opener = ChaCha20Poly1305(bytes(session.receive_key))
        self.send(session, inner, count)
        returned = 0
        while returned < count:
            datagram = self.receive(TRANSPORT)
            returned += bool(opener.decrypt(bytes(4) + datagram[8:16], datagram[16:], None))
        self.send(session, b"")
