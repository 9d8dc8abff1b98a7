"""A hundred peers with a flow each: what a gateway carries, and what that costs its daemon.

The far namespace gets a daemon for each peer, all of the implementation under test, on ports and inner addresses of
their own (10.80.N.2). The near daemon's sends wake those, and the kernel has it pay for that. One process here sends
through all flows at once, as much as each takes, and receives it.

Each peer has a session before it is connected to. TCP would else take the handshake for the way there and back, and
send a flow in pieces of two packets for minutes: how much it gives the interface at a time goes by the shortest round
trip that it has seen (net.ipv4.tcp_tso_rtt_log).
"""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Iterator

from . import usage
from .command import CommandError
from .lab import Lab
from .measure import Effort, Figures
from .site import LISTEN_PORT, Site

PEERS = 100
PORT = 7100
CHUNK = bytes(1 << 18)
ANSWER_WITHIN_S = 30.0


def measure(lab: Lab, effort: Effort) -> Figures:
    """tcp_flows, of all together, and cpu_flows_s_per_gb, of the near daemon alone."""
    with contextlib.ExitStack() as stack:
        for number in range(1, PEERS + 1):
            stack.enter_context(_peer(lab, number))
        lab.near.ip("route", "add", "10.80.0.0/16", "dev", lab.near.interface)
        for number in range(1, PEERS + 1):
            lab.near.namespace.run("ping", "-n", "-c", "1", "-W", f"{ANSWER_WITHIN_S:.0f}", _address(number))
        pairs = [stack.enter_context(_connected(lab, number)) for number in range(1, PEERS + 1)]
        before = usage.cpu_s(lab.near.pid)
        received, took_s = _flood(pairs, effort.tcp_s)
        cpu_s = usage.cpu_s(lab.near.pid) - before
    if not received:
        raise CommandError("nothing arrived through any of the flows")
    return {"tcp_flows": received * 8 / took_s, "cpu_flows_s_per_gb": cpu_s / (received / 1e9)}


def _address(number: int) -> str:
    return f"10.80.{number}.2"


@contextlib.contextmanager
def _peer(lab: Lab, number: int) -> Iterator[None]:
    """A daemon in the far namespace that is the near one's peer; what it is sent leaves by its own interface."""
    name = f"{lab.far.interface}{number}"
    site = Site(
        3,
        namespace=lab.far.namespace,
        interface=name,
        implementation=lab.far.implementation,
        directory=lab.far.log.parent,
    )
    site.start()
    try:
        port = str(LISTEN_PORT + number)
        site.wg("set", name, "listen-port", port, "private-key", site.secret_file("key", site.keys.private))
        roams = site.implementation is None or site.implementation.roams
        endpoint = [] if roams else ["endpoint", f"{lab.near.outer(4)}:{LISTEN_PORT}"]
        site.wg("set", name, "peer", lab.near.keys.public, "allowed-ips", f"{lab.near.inner(4)}/32", *endpoint)
        there = ["allowed-ips", f"{_address(number)}/32", "endpoint", f"{lab.far.outer(4)}:{port}"]
        lab.near.wg("set", lab.near.interface, "peer", site.keys.public, *there)
        site.ip("address", "add", f"{_address(number)}/32", "dev", name)
        site.ip("link", "set", name, "mtu", str(lab.mtu), "up")
        site.ip("rule", "add", "from", _address(number), "lookup", str(1000 + number))
        site.ip("route", "add", "default", "dev", name, "table", str(1000 + number))
        yield
    finally:
        if site.daemon is not None:
            site.daemon.kill()
            site.daemon.wait()
        site.uapi_socket.unlink(missing_ok=True)


@contextlib.contextmanager
def _connected(lab: Lab, number: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection from the near site to this peer: what sends, and what receives."""
    with (
        lab.far.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
        lab.near.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as sending,
    ):
        listener.bind((_address(number), PORT))
        listener.listen(1)
        listener.settimeout(ANSWER_WITHIN_S)
        sending.settimeout(ANSWER_WITHIN_S)
        sending.connect((_address(number), PORT))
        receiving, _ = listener.accept()
        with receiving:
            yield sending, receiving


def _flood(pairs: list[tuple[socket.socket, socket.socket]], seconds: float) -> tuple[int, float]:
    """Sends through all of them for so long: (bytes that arrived meanwhile, seconds)."""
    ended = threading.Event()
    sender = threading.Thread(target=_send, args=([one for one, _ in pairs], ended))
    received, room = 0, bytearray(len(CHUNK))
    with selectors.DefaultSelector() as selector:
        for _, receiving in pairs:
            receiving.setblocking(False)
            selector.register(receiving, selectors.EVENT_READ, receiving)
        sender.start()
        began = time.monotonic()
        until = began + seconds
        try:
            while (now := time.monotonic()) < until:
                for key, _ in selector.select(until - now):
                    with contextlib.suppress(BlockingIOError):
                        received += key.data.recv_into(room)
            took_s = time.monotonic() - began
        finally:
            ended.set()
            sender.join()
    return received, took_s


def _send(sockets: list[socket.socket], ended: threading.Event) -> None:
    with selectors.DefaultSelector() as selector:
        for one in sockets:
            one.setblocking(False)
            selector.register(one, selectors.EVENT_WRITE, one)
        while not ended.is_set():
            for key, _ in selector.select(0.1):
                with contextlib.suppress(BlockingIOError):
                    key.data.send(CHUNK)
