"""`make demo`: two sites, a tunnel between them, and what goes through it, beside the bare veth.

    python -m bench.tunnel.demo [--near NAME] [--far NAME]      NAME: see implementations.find

Exits 1 when a handshake, a ping or a byte fails, 2 when something is not installed, 128 + n after signal n. Nothing of
it stays either way.
"""

import argparse
import os
import sys
import time
from dataclasses import dataclass

from bench import report

from . import signals, traffic, transfer, usage
from .builds import NotInstalledError
from .command import CommandError
from .implementations import find, version
from .lab import Lab, remove_orphans
from .signals import Stopped
from .site import Site

TCP_S = 5.0
VETH_TCP_S = 2.0
UDP_S = 4.0
UDP_BITS_PER_S = 400e6
UDP_PAYLOAD_LEN = 1390
HASHED_BYTES = 32_000_000
MAX_PING_LOSS = 0.0


class DemoError(Exception):
    """Something that has to work did not."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One column of the report; `cells` go with the row titles of TITLES."""

    cells: list[str]


TITLES = [
    ("TCP, 1 stream", "Gb/s"),
    ("TCP, 4 streams", "Gb/s"),
    ("TCP, reverse", "Gb/s"),
    (f"UDP, {UDP_BITS_PER_S / 1e6:.0f} Mb/s offered, arrived", "Gb/s"),
    (f"UDP, {UDP_BITS_PER_S / 1e6:.0f} Mb/s offered, lost", "%"),
    ("ping, idle, p50", "ms"),
    ("ping, idle, p99", "ms"),
]


def main() -> int:
    """Runs the demo and returns the exit status."""
    arguments = _arguments()
    try:
        with signals.raised():
            _demo(arguments.near, arguments.far)
    except Stopped as stopped:
        print(f"demo: {stopped}", file=sys.stderr)
        return 128 + stopped.signum
    except NotInstalledError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except (CommandError, DemoError, TimeoutError, transfer.TransferError) as error:
        print(f"demo: FAILED: {error}", file=sys.stderr)
        return 1
    return 0


def _demo(near: str, far: str) -> None:
    """All of the demo; raises when something fails."""
    if os.geteuid() != 0:
        raise NotInstalledError("the demo makes network namespaces and TUN interfaces: run it as root (sudo make demo)")
    began = time.monotonic()
    if orphans := remove_orphans():
        print(f"cleared away what a killed run had left: {', '.join(orphans)}", flush=True)
    ends = [find(near), find(far)]
    print(f"near: {ends[0].name} ({version(ends[0])})\nfar:  {ends[1].name} ({version(ends[1])})", flush=True)
    with Lab(None, None) as bare:
        print("measuring the bare veth ...", flush=True)
        veth = _measure(bare, inside=False, seconds=VETH_TCP_S)
    with Lab(ends[0], ends[1], psk=True) as lab:
        _prove(lab)
        _load(lab, veth)
        for site in lab.sites:
            if not site.alive():
                raise DemoError(f"the daemon at the {site.name} site died\n{site.log_tail()}")
    print(f"\ndone in {time.monotonic() - began:.0f} s; nothing of it is left on this machine")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description="Two sites and a tunnel between them on this machine.")
    parser.add_argument("--near", default="pywg", help="the daemon that initiates (default: pywg)")
    parser.add_argument("--far", default="pywg", help="the daemon that responds (default: pywg)")
    return parser.parse_args()


def _prove(lab: Lab) -> None:
    """Handshake, pings over IPv4 and IPv6, and hashed bytes both ways; raises when one fails."""
    near, far = lab.sites
    print(f"ready after {near.ready_s * 1e3:.0f} ms (near) and {far.ready_s * 1e3:.0f} ms (far)", flush=True)
    lab.establish()
    for family in (4, 6):
        if traffic.ping(near, far.inner(family), count=20).lost > MAX_PING_LOSS:
            raise DemoError(f"pings over IPv{family} were lost")
        transfer.exchange(near.namespace, far.namespace, far.inner(family), HASHED_BYTES)
    print(
        f"handshake, ping and {HASHED_BYTES / 1e6:.0f} MB each way with equal SHA-256, over IPv4 and IPv6: ok",
        flush=True,
    )


def _load(lab: Lab, veth: Measured) -> None:
    """Measures the tunnel and prints the report."""
    near, far = lab.sites
    print("measuring the tunnel ...\n", flush=True)
    for site in lab.sites:
        usage.reset_peak(site.pid)
    tunnel = _measure(lab, inside=True, seconds=TCP_S)
    with traffic.background(near, far, far.inner(4)):
        loaded = traffic.ping(near, far.inner(4), count=300)
    rows = [[*title, *cells] for title, *cells in zip(TITLES, tunnel.cells, veth.cells, strict=True)]
    rows += [
        ["ping, under TCP load, p50", "ms", f"{loaded.p50_ms:.2f}", ""],
        ["ping, under TCP load, p99", "ms", f"{loaded.p99_ms:.2f}", ""],
    ]
    print(report.table(["near to far", "unit", "tunnel", "bare veth"], rows))
    print()
    print(report.table(["daemon", *(f"{site.name}: {_name(site)}" for site in lab.sites)], _daemon_rows(lab)))


def _measure(lab: Lab, *, inside: bool, seconds: float) -> Measured:
    near, far = lab.sites
    address = far.inner(4) if inside else far.outer(4)
    tcp = [
        traffic.tcp(near, far, address, seconds),
        traffic.tcp(near, far, address, seconds, streams=4),
        traffic.tcp(near, far, address, seconds, mode="reverse"),
    ]
    udp = traffic.udp(near, far, address, UDP_S if inside else 1, size=UDP_PAYLOAD_LEN, bits_per_s=UDP_BITS_PER_S)
    idle = traffic.ping(near, address, count=100)
    return Measured(
        [
            *(report.gbit(one.bits_per_s) for one in tcp),
            report.gbit(udp.bits_per_s),
            report.percent(udp.lost),
            f"{idle.p50_ms:.2f}",
            f"{idle.p99_ms:.2f}",
        ]
    )


def _name(site: Site) -> str:
    return site.implementation.name if site.implementation else "-"


def _daemon_rows(lab: Lab) -> list[list[str]]:
    """What the daemons cost for all they carried, and which offloads they say are on."""
    used = [site.usage() for site in lab.sites]
    gigabytes = [sum(site.transferred()) / 1e9 for site in lab.sites]
    rows = [
        [
            "CPU seconds per GB carried",
            *(f"{one.cpu_s / carried:.2f}" for one, carried in zip(used, gigabytes, strict=True)),
        ],
        ["peak memory, MiB", *(report.mebibytes(one.peak_rss_bytes) for one in used)],
        ["threads", *(str(one.threads) for one in used)],
    ]
    stats = [site.stats() for site in lab.sites]
    names = sorted({key for one in stats for key in one if key.startswith("offload_")})
    shown = {"1": "on", "0": "off"}
    for name in names or ["offload_*"]:
        rows.append([name, *(shown.get(one[name], one[name]) if name in one else "not told" for one in stats)])
    return rows


if __name__ == "__main__":
    sys.exit(main())
