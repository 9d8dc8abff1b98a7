"""How long traffic stops when something dies, and when a name's address changes. By hand: minutes of timers.

    python -m bench.failover [--rounds 5] [--only routing,companion] [--out bench/results/failover.json]

Needs root, BIRD and dnsmasq. Datagrams leave every 5 ms on each flow and are echoed behind the far end; an outage is
the longest time between two of one flow that were answered and left one after the other. A path that dies is cut
silently: no link goes down, and no router says anything.
"""

import argparse
import contextlib
import functools
import itertools
import json
import platform
import random
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.tunnel.builds import ROOT
from bench.tunnel.results import spread
from bench.tunnel.site import poll
from tests.netns.gateways import HOSTS, PORT, WIREGUARD_GO, Echo, Sites
from tests.netns.uplinks import LINKS, World, worlds

OUT = ROOT / "bench/results/failover.json"
EVERY_S = 0.005
QUIET_S = 1.0
"""Seconds in which all flows are answered again: then an outage is over."""
LONGEST_S = 90.0
_STAMP = struct.Struct("!d")

Samples = dict[str, list[float]]


class Flows:
    """Sends on connected sockets, and keeps when what was answered had left. A context."""

    def __init__(self, flows: Sequence[socket.socket], target: tuple[str, int]) -> None:
        self._flows = list(flows)
        self._target = target
        self._left = [[] for _ in flows]  # type: list[list[float]]
        self._end = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]

    def __enter__(self) -> "Flows":
        for thread in self._threads:
            thread.start()
        poll(lambda: self._answered_since(0.0, QUIET_S), "the flows are answered")
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def outage(self, act: Callable[[], object]) -> float:
        """Seconds for which a flow, the worst of them, has no answer after `act`."""
        time.sleep(random.random())  # what came before ended at a tick of BIRD's clock
        began = time.monotonic()
        act()
        time.sleep(QUIET_S)
        poll(lambda: self._answered_since(began, QUIET_S), "the flows are answered again", LONGEST_S, 0.05)
        return max(
            max(later - earlier for earlier, later in itertools.pairwise(left) if later > began)
            for left in map(sorted, map(list, self._left))
        )

    def _answered_since(self, began: float, quiet: float) -> bool:
        """Whether the last seconds have no gap in any flow."""
        now = time.monotonic()
        since = now - quiet
        for left in self._left:
            recent = [since, *(at for at in left[-1000:] if at > since), now]
            if since < began or max(b - a for a, b in itertools.pairwise(recent)) > quiet / 4:
                return False
        return True

    def _send(self) -> None:
        while not self._end.wait(EVERY_S):
            for flow in self._flows:
                with contextlib.suppress(OSError):
                    flow.sendto(_STAMP.pack(time.monotonic()), self._target)

    def _receive(self) -> None:
        number = {flow: place for place, flow in enumerate(self._flows)}
        while not self._end.is_set():
            for flow in select.select(self._flows, [], [], 0.1)[0]:
                with contextlib.suppress(OSError, struct.error):
                    self._left[number[flow]].append(*_STAMP.unpack(flow.recv(64)))


def routing(rounds: int, pywg: str) -> Iterator[tuple[str, float]]:
    """Two gateways a site, as docs/two-gateways.md has them."""
    for name, up in (("pywg", ""), ("wireguard-go", WIREGUARD_GO)):
        with Sites(pywg, up) as sites:
            sites.wait_for_ways(2)
            for _ in range(rounds):
                poll(sites.settled, "all BFD sessions are up", every_s=0.1)
                with Flows(sites.flows, (HOSTS["paris"], PORT)) as flows:
                    yield f"BIRD, {name}: daemon killed", flows.outage(sites.machines["berlin1"].kill_daemon)
                sites.up("berlin1")
                sites.wait_for_ways(2)
                poll(sites.settled, "all BFD sessions are up", every_s=0.1)
                with Flows(sites.flows, (HOSTS["paris"], PORT)) as flows, contextlib.ExitStack() as cut:
                    act = functools.partial(cut.enter_context, sites.cut("paris2"))
                    yield f"BIRD, {name}: uplink cut", flows.outage(act)
                sites.wait_for_ways(2)


def companion(rounds: int, pywg: str) -> Iterator[tuple[str, float]]:
    """A peer with two addresses; its first is cut, or its name changes."""
    for _ in range(rounds):
        second = "198.51.100.2:7000"
        yield "companion: to the second endpoint", _lost(pywg, f"192.0.2.2:7000\n# pywg.Endpoints = {second}")
        yield "companion: name changed, no answer", _lost(pywg, "gw.test:7000", ttl=3600)
        yield "companion: name changed, TTL of 5 s", _lost(pywg, "gw.test:7000", ttl=5)


def _lost(pywg: str, endpoint: str, *, ttl: int = 0) -> float:
    """The outage once the first link of a session under traffic is cut, and the name has the second's address."""
    with tempfile.TemporaryDirectory() as folder, worlds(Path(folder), pywg) as world:
        if ttl:
            world.serve_names(ttl=ttl, gw="192.0.2.2")
        world.write(endpoint, interface="# pywg.Companion = on")
        world.command("up")
        poll(lambda: world.is_at(0, "192.0.2.2"), "the tunnel is up")
        with contextlib.ExitStack() as closing:
            closing.callback(Echo(world.far, "10.9.0.2").close)
            flow = closing.enter_context(world.near.socket(socket.AF_INET, socket.SOCK_DGRAM))
            flow.bind(("10.9.0.1", 0))
            flow.setblocking(False)

            def change() -> None:
                _cut(world, "la")
                if ttl:
                    world.say(gw="198.51.100.2")

            with Flows([flow], ("10.9.0.2", PORT)) as flows:
                return flows.outage(change)


def _cut(world: World, link: str) -> None:
    assert link in LINKS
    rule = f'table inet cut {{ chain in {{ type filter hook prerouting priority -300; iifname "{link}" drop; }}; }}'
    for space in (world.near, world.far):
        space.run("nft", "-f", "-", stdin=rule)


MEASURES = {"routing": routing, "companion": companion}


def table(samples: Samples) -> str:
    """Of Markdown."""
    lines = ["| what | median | smallest to largest | rounds |", "|---|---|---|---|"]
    for name, values in samples.items():
        of = spread(values)
        lines.append(f"| {name} | {of.median:.2f} s | {of.low:.2f} to {of.high:.2f} s | {of.n} |")
    return "\n".join(lines)


def main(given: Sequence[str]) -> int:
    """Measures, and writes the file after each round."""
    parser = argparse.ArgumentParser(prog="python -m bench.failover", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(MEASURES), help="default: all of them")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(given)
    pywg = str(Path(sys.executable).with_name("pywg"))
    version = subprocess.run([pywg, "version"], capture_output=True, text=True, check=True).stdout.strip()
    samples: Samples = {}
    for name in options.only.split(","):
        for what, seconds in MEASURES[name](options.rounds, pywg):
            samples.setdefault(what, []).append(round(seconds, 3))
            machine = {"kernel": platform.release(), "python": platform.python_version(), "pywg": version}
            options.out.write_text(json.dumps({"machine": machine, "outages_s": samples}, indent=1) + "\n")
            print(f"{seconds:7.2f} s  {what}", flush=True)
    print(table(samples))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
