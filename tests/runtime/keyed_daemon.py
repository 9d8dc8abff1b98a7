"""A process that does what the daemon does, to be searched for keys: `SOCKET [--leaky] [--plane AEAD]`.

It answers on a UAPI socket, for a device with a fake plane, or with a real one that seals with the AEAD named; what
comes through that one's TUN goes back to where it came from. With `--leaky` it keeps what it should wipe, for the
search to find.
"""

import asyncio
import contextlib
import socket
import sys

import uvloop

from pywg._fastpath import Plane
from pywg.core import handshake
from pywg.dataplane.crypto.secret import Secret
from pywg.runtime.base.log import Level, Log
from pywg.runtime.base.poller import Poller
from pywg.runtime.device.device import Device
from pywg.runtime.net.sockets import open_sockets
from pywg.runtime.uapi import request_buffer
from pywg.runtime.uapi import server as uapi_server
from tests.fastpath.plane_harness import tun_pair
from tests.lines import StreamOutput
from tests.runtime.device_harness import DeviceHarness

kept: list[object] = []


class KeptSecret:
    """Makes Secrets, and keeps what they were made from."""

    def __new__(cls, source: bytes) -> Secret:  # type: ignore[misc]
        return Secret(source)

    @staticmethod
    def take(source: bytes) -> Secret:
        kept.append(source)
        return Secret(source)


def with_fake_plane() -> Device:
    harness = DeviceHarness()
    harness.taken_ports.add(1)
    return harness.device


def with_real_plane(aead: str) -> Device:
    loop = asyncio.get_running_loop()
    plane = Plane(aead=aead)
    device = Device(
        plane,
        log=Log("wg0", Level.SILENT, output=StreamOutput()),
        call_later=loop.call_later,
        boot_later=loop.call_later,
        tun_gone=lambda: None,
        open_sockets=open_sockets,
    )
    tun_end, tun = tun_pair()
    plane.attach_tun(tun_end.fileno(), vnet_hdr_len=0)
    loop.add_reader(plane.event_fd, device.on_plane_ready)

    def send_back() -> None:
        packet = tun.recv(1 << 16)
        tun.send(packet[:12] + packet[16:20] + packet[12:16] + packet[20:])

    loop.add_reader(tun.fileno(), send_back)
    kept.append(tun_end)
    return device


async def serve(path: str) -> None:
    device = with_real_plane(sys.argv[-1]) if "--plane" in sys.argv else with_fake_plane()
    device.up()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        listener.setblocking(False)
        server = uapi_server.UapiServer(listener, device, Log("wg0", Level.SILENT, output=StreamOutput()))
        server.start(Poller(asyncio.get_running_loop()))
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await server.close()


if __name__ == "__main__":
    if "--leaky" in sys.argv:
        for module in (request_buffer, uapi_server, handshake):
            vars(module)["wipe"] = lambda data: kept.append(bytes(data))
        vars(handshake)["Secret"] = KeptSecret
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(sys.argv[1]))
