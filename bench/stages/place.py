"""The place of the stages: two sites with a TUN and a UDP socket each, joined by a veth, and a TCP connection."""

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import NamedTuple

from bench.tunnel.lab import Lab
from bench.tunnel.site import LINK, Site
from pywg.runtime.net.sockets import open_sockets
from pywg.runtime.net.steering import spread
from pywg.runtime.net.tun import open_tun
from tests.native.stages import Stream

MTU = 1420
PORT = 7000
TURNS = 1000
"""Of carrying, within which the connection has to be there."""
BUFFER_LEN = 8 << 20
BESIDE = "10.81.0."
"""The network of a stream beside another, whose TUNs are of namespaces of their own."""
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33


class Place(NamedTuple):
    """Where the stages are: a stream that is connected, and the site that it goes to."""

    stream: Stream
    far: Site

    def steer(self, processor: int) -> None:
        """Has the kernel receive there what is written to the far site's TUN."""
        with self.far.namespace.entered():
            spread(self.far.interface, [processor])


@contextlib.contextmanager
def place(aead: str = "auto", *, beside: Stream | None = None) -> Iterator[Place]:
    """One in a lab of its own; with `beside` it is a shard of that stream's planes.

    Raises CommandError or OSError where that can't be had; needs root.
    """
    with Lab(None, None) as lab, contextlib.ExitStack() as stack:
        described = []
        for site, other in (lab.sites, lab.sites[::-1]):
            with site.namespace.entered():
                tun = open_tun(site.interface)
                stack.callback(tun.close)
                udp = open_sockets(0, 0)
                stack.callback(udp.close)
            site.bring_up(MTU)
            described.append((site, other, tun, udp))
        ports = {site.number: udp.port for site, _, _, udp in described}
        near, far = (
            (tun.fd, tun.vnet_hdr_len, udp.fd4, _endpoint(site, other, ports[other.number]))
            for site, other, tun, udp in described
        )
        if beside is None:
            one, target = Stream(aead, near, far), lab.far.inner(4)
        else:
            one, target = Stream(aead, near, far, beside, socket.inet_aton(f"{BESIDE}0")), f"{BESIDE}{lab.far.number}"
            for site in lab.sites:
                site.ip("address", "add", f"{BESIDE}{site.number}/24", "dev", site.interface)
        stack.enter_context(_connected(one, lab.near, lab.far, target))
        yield Place(one, lab.far)


def _endpoint(site: Site, other: Site, port: int) -> tuple[bytes, int, int, bytes, int]:
    with site.namespace.entered():
        index = socket.if_nametoindex(LINK)
    return socket.inet_aton(other.outer(4)), port, 0, socket.inet_aton(site.outer(4)), index


@contextlib.contextmanager
def _connected(one: Stream, near: Site, far: Site, target: str) -> Iterator[None]:
    """The near site's socket connected to the far one's at this address, through the stages."""
    with (
        far.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
        near.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        for sock in (listener, client):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_LEN)
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_LEN)
        listener.bind((target, PORT))
        listener.listen(1)
        client.connect_ex((target, PORT))
        for _ in range(TURNS):
            one.carry(1, turns=1)
            with contextlib.suppress(BlockingIOError):
                server, _ = listener.accept()
                break
        else:
            why = os.strerror(client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            raise TimeoutError(f"no connection through the stages within {TURNS} turns: {why}")
        with server:
            server.setblocking(False)
            one.attach(client.fileno(), server.fileno())
            yield
            one.attach(-1, -1)
