"""Sends bytes through TCP and compares SHA-256 at both ends: did every byte arrive, and in order?"""

import hashlib
import random
import socket
import threading
from dataclasses import dataclass, field

from .namespace import Namespace

_CHUNK_LEN = 1 << 18
_TIMEOUT_S = 60.0


class TransferError(AssertionError):
    """Bytes were lost, changed, or did not arrive in time."""


@dataclass
class _Flow:
    """One direction. The sender's and the receiver's threads leave their hash, or what went wrong, here."""

    name: str
    sent: str = ""
    received: str = ""
    failures: list[str] = field(default_factory=list)


def _send(connection: socket.socket, length: int, seed: int, flow: _Flow) -> None:
    block = random.Random(seed).randbytes(_CHUNK_LEN)
    digest = hashlib.sha256()
    try:
        for offset in range(0, length, _CHUNK_LEN):
            # The offset in each chunk: a chunk that is lost, doubled or out of order changes the hash.
            chunk = (offset.to_bytes(8, "big") + block[8:])[: length - offset]
            digest.update(chunk)
            connection.sendall(chunk)
        connection.shutdown(socket.SHUT_WR)
        flow.sent = digest.hexdigest()
    except OSError as error:
        flow.failures.append(f"sending {flow.name}: {error}")


def _receive(connection: socket.socket, flow: _Flow) -> None:
    digest = hashlib.sha256()
    buffer = bytearray(_CHUNK_LEN)
    view = memoryview(buffer)
    try:
        while count := connection.recv_into(buffer):
            digest.update(view[:count])
        flow.received = digest.hexdigest()
    except OSError as error:
        flow.failures.append(f"receiving {flow.name}: {error}")


def connect(
    client: Namespace, server: Namespace, address: str, port: int = 7000
) -> tuple[socket.socket, socket.socket]:
    """A TCP connection between two namespaces: the client's end and the server's."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with server.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(1)
        listener.settimeout(_TIMEOUT_S)
        near = client.socket(family, socket.SOCK_STREAM)
        try:
            near.settimeout(_TIMEOUT_S)
            near.connect((address, port))
            far, _ = listener.accept()
        except BaseException:
            near.close()
            raise
    far.settimeout(_TIMEOUT_S)
    return near, far


def exchange(client: Namespace, server: Namespace, address: str, length: int) -> None:
    """Sends `length` bytes each way at once through one connection. Raises TransferError unless both hashes agree."""
    flows = [_Flow("to the server"), _Flow("to the client")]
    near, far = connect(client, server, address)
    with near, far:
        threads = [
            threading.Thread(target=_send, args=(near, length, 1, flows[0])),
            threading.Thread(target=_receive, args=(far, flows[0])),
            threading.Thread(target=_send, args=(far, length, 2, flows[1])),
            threading.Thread(target=_receive, args=(near, flows[1])),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for flow in flows:
        if flow.failures:
            raise TransferError("; ".join(flow.failures))
        if flow.sent != flow.received:
            raise TransferError(f"{length} bytes {flow.name}: SHA-256 {flow.sent} was sent, {flow.received} arrived")
