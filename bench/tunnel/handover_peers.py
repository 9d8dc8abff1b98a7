"""How long nothing is sent while a daemon with many peers is replaced: `python -m bench.tunnel.handover_peers`; root.

Each peer has a session, an endpoint and an allowed IP. No handshake makes them: this process hands them over to a first
daemon, as a daemon would that has them. `pywg upgrade` then replaces that one again and again, without traffic. What
`get` shows of all peers must be the same before and after each, byte for byte.
"""

import argparse
import contextlib
import json
import os
import re
import secrets
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pywg._fastpath import Plane, now
from pywg.core.carried import CURRENT, CarriedKeypair, CarriedPeer, CarriedTimers
from pywg.dataplane.crypto.secret import Secret
from pywg.runtime.base.in_use import DIRECTORY, daemon_of
from pywg.runtime.base.loading import uncollected_meanwhile
from pywg.runtime.base.parcel import Reader, SentParcel, Writer
from pywg.runtime.device import carried
from pywg.runtime.device.carried import DeviceState, Peer
from pywg.runtime.device.plane import KeypairState
from pywg.runtime.net.sockets import open_sockets
from pywg.runtime.net.tun import open_tun
from tests.runtime.device_harness import DeviceHarness
from tests.runtime.handing_over import asking, contents, hello

from .implementations import find
from .many_peers import stranger_address
from .namespace import Namespace

if TYPE_CHECKING:
    from tests.fake_plane import FakePlane

PORT = 51820
_SAID = re.compile(r"nothing was sent for ([\d.]+) ms")
_WINDOW_LEN = 8 + 1024


def main() -> int:
    """Prints the figures as JSON. The status is 1 where something was not as before."""
    parser = argparse.ArgumentParser(prog="python -m bench.tunnel.handover_peers", description=__doc__)
    parser.add_argument("--peers", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--times", type=int, default=5, help="handovers of each (default: 5)")
    given = parser.parse_args()
    figures = {str(number): _measure(number, given.times) for number in given.peers}
    print(json.dumps(figures, indent=1))
    return int(not all(one["same"] for one in figures.values()))


def _measure(peers: int, times: int) -> dict[str, object]:
    name = f"many{secrets.token_hex(3)}"
    namespace = Namespace(name)
    namespace.create()
    try:
        text = _begin(namespace, name, peers)
        waited, rss, same = [], [], True
        for _ in range(times):
            before = _get(name)
            text = _upgrade(namespace, name)
            found = _SAID.search(text)
            if found is None:
                raise RuntimeError(text)
            waited.append(float(found[1]))
            daemon = daemon_of(name)
            assert daemon is not None
            rss.append(_peak_mib(daemon.pid))
            same &= _get(name) == before and before.count(b"public_key=") == peers
            print(f"{peers} peers: {waited[-1]:.1f} ms, the new daemon's peak {rss[-1]:.1f} MiB", file=sys.stderr)
        writes, takes = _cpu_ms(peers)
        shown = {"least": min(waited), "median": round(statistics.median(waited), 1), "most": max(waited)}
        return {
            "said_ms": shown,
            "old_cpu_ms": writes,
            "new_cpu_ms": takes,
            "new_peak_mib": round(max(rss), 1),
            "times": times,
            "same": same,
        }
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            namespace.run(find("pywg").command[0], "down", name)
        namespace.remove()


def _cpu_ms(peers: int) -> tuple[float, float]:
    """Processor milliseconds to tell such a state, and to put it in place, while nothing is sent: on a busy machine
    they say more than how long it took."""
    with uncollected_meanwhile():
        here = DeviceHarness(make_plane=lambda _now: cast("FakePlane", Plane()))
        here.timers.now = now()
        data = contents(_state(peers))
        began = time.process_time()
        here.device.resume(carried.read(Reader(memoryview(data))), None)
        took = time.process_time()
        text = Writer()
        carried.write(here.device.carried(), text)
        SentParcel().write(text.parts)
        told = time.process_time()
    cast("Plane", here.plane).close()
    return round((told - took) * 1e3, 1), round((took - began) * 1e3, 1)


def _upgrade(namespace: Namespace, name: str) -> str:
    return namespace.run(find("pywg").command[0], "upgrade", name)


def _get(name: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{DIRECTORY}/{name}.sock")
        client.sendall(b"get=1\n\n")
        text = bytearray()
        while not text.endswith(b"errno=0\n\n"):
            text += client.recv(1 << 16)
        return bytes(text)


def _peak_mib(pid: int) -> float:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024


def _begin(namespace: Namespace, name: str, peers: int) -> str:
    """Has a first daemon take all over from this process. What it says."""
    path = f"{DIRECTORY}/{name}.sock"
    os.makedirs(DIRECTORY, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with namespace.entered():
            tun = open_tun(name)
            stack.callback(tun.close)
            udp = open_sockets(PORT, 0)
            stack.callback(udp.close)
            said = contents(_state(peers))
            greeting = hello([name.encode()], length=len(said), vnet_hdr_len=tun.vnet_hdr_len)
        namespace.run("ip", "link", "set", name, "up")
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen()
        upgrade = namespace.start([find("pywg").command[0], "upgrade", name], stdout=-1, stderr=-2)
        client = stack.enter_context(asking(listener))
        parcel = SentParcel()
        stack.callback(parcel.close)
        socket.send_fds(client, [greeting], [parcel.fd, tun.fd, listener.fileno()])
        _expect(client, b"L")
        os.pwrite(parcel.fd, said, 0)
        fds = [fd for fd in (udp.fd4, udp.fd6) if fd >= 0]
        socket.send_fds(client, [b"W" + bytes([(udp.fd4 >= 0) + 2 * (udp.fd6 >= 0)])], fds)
        _expect(client, b"R")
        client.sendall(b"Y")
        return upgrade.communicate()[0].decode()


def _expect(client: socket.socket, letter: bytes) -> None:
    if client.recv(1) != letter:
        raise RuntimeError("the new daemon has given up")


def _state(peers: int) -> DeviceState:
    at = now() - 1.0
    return DeviceState(
        Secret(os.urandom(32)), PORT, PORT, 0, True, True, 1420, [_peer(number, at) for number in range(1, peers + 1)]
    )


def _peer(number: int, at: float) -> Peer:
    """A peer whose session is a second old, with a few packets both ways."""
    never = float("inf")
    timers = CarriedTimers(0, never, at + 540.0, never, 0.0, 0.0, at, 0.5)
    roles = (CarriedKeypair(CURRENT, number, True, at, True),)
    core = CarriedPeer(os.urandom(32), None, 0, 17 * 10**17, at, bytes(12), 17 * 10**17, 0.0, timers, roles)
    ns = int(at * 1e9)
    window = (number % 7).to_bytes(8, "little") + bytes(_WINDOW_LEN - 8)
    keypair = KeypairState(
        number,
        number,
        Secret(os.urandom(64)),
        True,
        False,
        ns,
        number % 5,
        window,
        True,
        False,
    )
    inner = socket.inet_aton(stranger_address(number))
    endpoint = (socket.inet_aton("192.0.2.1"), 1024 + number % 60_000, 0, b"", 0)
    return Peer(core, endpoint, True, [(inner, 32)], (number, 2 * number, 0, 0, ns, ns, ns), [keypair])


if __name__ == "__main__":
    sys.exit(main())
