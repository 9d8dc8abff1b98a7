"""How long nothing is sent while a daemon is replaced under load: `python -m bench.tunnel.handover`, as root.

An iperf3 stream fills the tunnel while `pywg upgrade` replaces the near end's daemon again and again. Two figures of
each: what the new daemon says of itself, and the longest pause between two datagrams on the outer link around it, which
has in it what anybody sees.
"""

import argparse
import itertools
import json
import re
import socket
import statistics
import subprocess
import sys
import time

from .implementations import find
from .lab import Lab
from .site import LINK, poll

_SAID = re.compile(r"nothing was sent for ([\d.]+) ms")
_ETH_P_ALL, _OUTGOING = 3, 4
_BEFORE_S = 0.2
"""Seconds of the stream that are watched before and after each."""


def main() -> int:
    """Prints the figures as JSON. The status is 1 where the stream's connection was lost."""
    parser = argparse.ArgumentParser(prog="python -m bench.tunnel.handover", description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="handovers (default: 20)")
    parser.add_argument("--far", default="pywg", help="the other end's daemon (default: pywg)")
    given = parser.parse_args()
    with Lab("pywg", given.far, psk=True) as lab:
        lab.establish()
        server = lab.far.namespace.start(["iperf3", "-s", "-1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        poll(lambda: ":5201" in lab.far.namespace.run("ss", "-ltn"), "iperf3 listens")
        command = ["iperf3", "-c", lab.far.inner(4), "-t", str(60 + 5 * given.times), "-J"]
        client = lab.near.namespace.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        handshakes = lab.far.wg("show", lab.far.interface, "latest-handshakes")
        said, seen = [], []
        for _ in range(given.times):
            one, other = _replace(lab)
            said.append(one)
            seen.append(other)
            print(f"{one:8.1f} ms said, {other:8.1f} ms seen", file=sys.stderr)
        alive = client.poll() is None
        same = lab.far.wg("show", lab.far.interface, "latest-handshakes") == handshakes
        client.kill()
        server.kill()
    shown = {"said_ms": _spread(said), "seen_ms": _spread(seen), "connection_lives": alive, "same_session": same}
    print(json.dumps(shown, indent=1))
    return 0 if alive else 1


def _spread(figures: list[float]) -> dict[str, float]:
    return {
        "n": len(figures),
        "least": min(figures),
        "median": round(statistics.median(figures), 1),
        "most": max(figures),
    }


def _replace(lab: Lab) -> tuple[float, float]:
    """One handover: milliseconds that the new daemon says, and that the outer link was silent."""
    near = lab.near
    link = near.namespace.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
    with link:
        link.bind((LINK, _ETH_P_ALL))
        link.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        link.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS: when the kernel sent it, and not when it is read
        link.settimeout(0.05)
        upgrade = near.namespace.start(
            [find("pywg").command[0], "upgrade", near.interface], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        times, until = [], float("inf")
        while time.monotonic() < until:
            if until == float("inf") and upgrade.poll() is not None:
                until = time.monotonic() + _BEFORE_S
            try:
                _, ancillary, _, address = link.recvmsg(64, 64)
            except TimeoutError:
                continue
            if address[2] == _OUTGOING:
                seconds, nanoseconds = (int.from_bytes(ancillary[0][2][at : at + 8], "little") for at in (0, 8))
                times.append(seconds + nanoseconds / 1e9)
    text = upgrade.communicate()[0].decode()
    found = _SAID.search(text)
    if found is None:
        raise RuntimeError(text)
    return float(found[1]), round(max(later - one for one, later in itertools.pairwise(times)) * 1e3, 1)


if __name__ == "__main__":
    sys.exit(main())
