"""python -m bench.soak [--minutes M] [--out FILE]: hours of mixed traffic, and what they did to the daemons.

Two sites with a build of pywg whose sessions live for three seconds. TCP both ways and UDP probes go through the
tunnel, every byte hashed. Meanwhile the near site roams between addresses and ports, strangers' keys come and go as
peers of both sites, a third daemon shakes hands and is killed, and the tunnel's MTU and its preshared key change.
Status 1: a promise did not hold. The report is JSON with every sample. Needs root.
"""

import argparse
import base64
import contextlib
import hashlib
import json
import os
import random
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from bench.tunnel.command import CommandError, run
from bench.tunnel.implementations import build, version
from bench.tunnel.lab import Lab
from bench.tunnel.results import machine
from bench.tunnel.site import LINK, LISTEN_PORT, Keys, Site

from .watch import OUTAGE_MAX_S, Sample, Verdict, of_daemon, sample

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "bench" / "results" / "soak.json"
DAEMON = "pywg-short-lived"
SAMPLE_EVERY_S = 5.0
NOWHERE = "192.0.2.1:9"  # the endpoint of strangers: no route leads there, and the log says so
EXPECTED = (NOWHERE, "has the other end another preshared key?", "handshake with", "works again", "handshake trouble: ")
"""What the log may say: both ends don't get another preshared key in the same instant."""
STRANGERS = 200  # peers that come and go, all together
CHANGES_BEFORE = 2000  # of strangers, before the first sample
RING_PLACES = 4096  # MESSAGE_RING of the data plane: places for handshake messages
RING_BURST, RING_PAUSE_S = 32, 0.05
INITIATION = 1
HANDSHAKE_WITHIN_S = 5.0  # one comes each three seconds
STREAM_MBIT_S = 150.0


class Plan(NamedTuple):
    """A flow: its name, where it begins and ends, which kind of flows.py it is, its port."""

    name: str
    begin: str
    end: str
    kind: str
    port: int
    more: tuple[str, ...] = ()


FLOWS = (
    Plan("stream there", "near", "far", "stream", 7001, (str(STREAM_MBIT_S),)),
    Plan("stream back", "far", "near", "stream", 7002, (str(STREAM_MBIT_S),)),
    Plan("probe", "near", "far", "probe", 7003),
)


class Flow:
    """Two processes, one at each end, and what they said last."""

    def __init__(self, lab: Lab, plan: Plan) -> None:
        sites = {"near": lab.near, "far": lab.far}
        name = plan.name.replace(" ", "-")
        self.files = {side: lab.near.directory / f"{name}-{side}" for side in ("from", "to")}
        to = sites[plan.end].inner(6 if plan.port % 2 else 4)
        commands = {
            "to": (sites[plan.end], [f"{plan.kind}-to", str(plan.port)]),
            "from": (sites[plan.begin], [f"{plan.kind}-from", to, str(plan.port), *plan.more]),
        }
        self.processes = {side: self._start(side, *commands[side]) for side in ("to", "from")}

    def _start(self, side: str, site: Site, arguments: list[str]) -> subprocess.Popen[bytes]:
        with self.files[side].open("wb") as said:
            argv = [sys.executable, "-m", "bench.soak.flows", *arguments]
            return site.namespace.start(argv, stdout=said, stderr=said, env={**os.environ, "PYTHONPATH": str(ROOT)})

    def tallies(self) -> dict[str, dict[str, float]]:
        """Of both ends. CommandError: one has ended, or said nothing."""
        found = {}
        for side, process in self.processes.items():
            lines = self.files[side].read_text().split("\n")[:-1]
            if process.poll() is not None or not lines:
                raise CommandError(f"a flow ended: {self.files[side].read_text()[-2000:]}")
            found[side] = json.loads(lines[-1])
        return found


class Unrest:
    """What happens to the tunnel meanwhile: each `step` does one thing, chosen by chance."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self._lab = lab
        self._rng = random.Random(seed)
        self._strangers: dict[str, list[str]] = {"near": [], "far": []}
        self._guest: Site | None = None
        # Else the kernel removes all addresses of a network with the first of them.
        lab.near.namespace.run("sysctl", "-q", "-w", f"net.ipv4.conf.{LINK}.promote_secondaries=1")
        self.done: dict[str, int] = {}
        self.apart_s = 0.0

    def step(self) -> None:
        actions: list[tuple[int, Callable[[], None]]] = [
            (10, self.stranger),
            (3, self.roam_port),
            (3, self.roam_address),
            (2, self.guest),
            (2, self.mtu),
            (1, self.preshared_key),
        ]
        (action,) = self._rng.choices([one for _, one in actions], [weight for weight, _ in actions])
        self.done[action.__name__] = self.done.get(action.__name__, 0) + 1
        action()

    def fill(self) -> None:
        """Takes once what is taken on first use: it is no growth later.

        As many strangers as there may be, many changes of them, and each place of the ring of handshake messages.
        """
        for site in self._lab.sites:
            while len(self._strangers[site.name]) < STRANGERS // 2:
                self._add_stranger(site)
        for _ in range(CHANGES_BEFORE):
            self.stranger()
        for site, other in (self._lab.sites, self._lab.sites[::-1]):
            self._touch_ring(site, other)

    @staticmethod
    def _touch_ring(site: Site, other: Site) -> None:
        """Has as many initiations, which do not open, come from the other end as the ring has places."""
        key = hashlib.blake2s(b"mac1----" + base64.b64decode(site.keys.public)).digest()
        with other.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(RING_PLACES):
                body = struct.pack("<I", INITIATION) + os.urandom(112)
                mac1 = hashlib.blake2s(body, key=key, digest_size=16).digest()
                sock.sendto(body + mac1 + bytes(16), (site.outer(4), LISTEN_PORT))
                if number % RING_BURST == 0:
                    time.sleep(RING_PAUSE_S)  # else the ring fills, and an honest initiation needs a cookie

    def stranger(self) -> None:
        site = self._rng.choice(self._lab.sites)
        peers = self._strangers[site.name]
        if len(peers) >= STRANGERS // 2 or (peers and self._rng.randrange(2)):
            site.wg("set", site.interface, "peer", peers.pop(self._rng.randrange(len(peers))), "remove")
            return
        self._add_stranger(site)

    def _add_stranger(self, site: Site) -> None:
        key = Keys.generate().public
        net = f"10.{self._rng.randrange(100, 200)}.{self._rng.randrange(256)}.0/24"
        more = ["endpoint", NOWHERE, "persistent-keepalive", "1"] if self._rng.randrange(2) else []
        site.wg("set", site.interface, "peer", key, "allowed-ips", net, *more)
        self._strangers[site.name].append(key)

    def roam_port(self) -> None:
        port = str(self._rng.randrange(20_000, 60_000))
        self._lab.near.wg("set", self._lab.near.interface, "listen-port", port)

    def roam_address(self) -> None:
        """Another address first, then without the old one: the next datagram leaves from the new."""
        near, other = self._lab.near, f"10.77.0.{self._rng.randrange(10, 250)}/24"
        with contextlib.suppress(CommandError):  # it is the one that it had
            near.ip("address", "add", other, "dev", LINK)
            rows = json.loads(near.ip("-json", "-4", "address", "show", "dev", LINK))[0]["addr_info"]
            for row in rows:
                if f"{row['local']}/24" != other:
                    near.ip("address", "del", f"{row['local']}/24", "dev", LINK)

    def guest(self) -> None:
        """A third daemon beside the far one, a peer of its: it comes, or it is killed."""
        far = self._lab.far
        if self._guest is not None:
            daemon = self._guest.daemon
            assert daemon is not None
            self._strangers["far"].append(self._guest.keys.public)
            self._guest = None
            daemon.kill()
            daemon.wait()
            return
        assert far.implementation is not None
        name = f"{far.interface[:-1]}c"
        site = Site(
            3, namespace=far.namespace, interface=name, implementation=far.implementation, directory=far.directory
        )
        site.start()
        key = site.secret_file("guest", site.keys.private)
        site.wg("set", name, "private-key", key)
        site.ip("link", "set", name, "up")
        far.wg("set", far.interface, "peer", site.keys.public, "allowed-ips", "10.78.0.3/32")
        at = ("endpoint", f"{far.outer(4)}:{LISTEN_PORT}", "persistent-keepalive", "1")
        site.wg("set", name, "peer", far.keys.public, *at, "allowed-ips", "10.78.9.0/24")
        self._guest = site

    def mtu(self) -> None:
        mtu = str(self._rng.choice([1280, 1340, 1420]))
        for site in self._lab.sites:
            site.ip("link", "set", site.interface, "mtu", mtu)

    def preshared_key(self) -> None:
        """Both ends get it, one right after the other; the session in use goes on until the next handshake.

        While one end alone has it, no handshake succeeds. So it comes to both just after one, and not by processes that
        a busy machine starts seconds apart. `apart_s` is the longest time that was between the two all the same.
        """
        key = base64.b64decode(run("wg", "genpsk")).hex()
        before = self.last_handshake()
        until = time.monotonic() + HANDSHAKE_WITHIN_S
        while self.last_handshake() == before and time.monotonic() < until:
            time.sleep(0.02)
        times = []
        for site, peer in (self._lab.sites, self._lab.sites[::-1]):
            public = base64.b64decode(peer.keys.public).hex()
            answer = site.uapi(f"set=1\npublic_key={public}\nupdate_only=true\npreshared_key={key}")
            times.append(time.monotonic())
            if "errno=0" not in answer:
                raise CommandError(f"{site.name}: a preshared key is refused: {answer}")
        self.apart_s = max(self.apart_s, times[1] - times[0])

    def last_handshake(self) -> str:
        """When the near site's last handshake with the far one was, as the daemon tells it."""
        near, far = self._lab.sites
        public = base64.b64decode(far.keys.public).hex()
        _, _, rest = near.uapi("get=1").partition(f"public_key={public}\n")
        told = [line for line in rest.partition("public_key=")[0].splitlines() if line.startswith("last_handshake")]
        return "".join(told)

    def end(self) -> None:
        if self._guest is not None:
            self.guest()


def verdicts(
    lab: Lab,
    flows: dict[str, dict[str, dict[str, float]]],
    samples: dict[str, list[Sample]],
    handshakes: int,
    run_s: float,
) -> Iterator[Verdict]:
    for site in lab.sites:
        yield Verdict(f"{site.name}: the daemon lives", str(site.alive()).lower(), site.alive())
        yield from of_daemon(site.name, samples[site.name])
        said = [line for line in site.log.read_text().splitlines() if not any(words in line for words in EXPECTED)]
        yield Verdict(f"{site.name}: no error in its log", " / ".join(said[-3:]) or "none", not said)
        refused = site.stats().get("sandbox_refused")
        if refused is not None:
            yield Verdict(f"{site.name}: no system call was refused", refused, refused == "0")
    ends = [end for flow in flows.values() for end in flow.values()]
    total = sum(end["received_bytes"] for end in ends)
    damaged, overtaken = (int(sum(end[what] for end in ends)) for what in ("damaged", "overtaken"))
    outage = max(end["outage_s"] for end in ends)
    yield Verdict("no byte was damaged", f"{damaged} of {total / 1e9:.1f} GB", damaged == 0 and total > 0)
    yield Verdict("no packet was overtaken", str(overtaken), overtaken == 0)
    yield Verdict(f"no outage over {OUTAGE_MAX_S:g} s", f"{outage:.2f} s", outage <= OUTAGE_MAX_S)
    still = max(end["still_s"] for end in ends)
    yield Verdict("the longest time between two blocks of a stream", f"{still:.2f} s", None)
    asleep = max(end["asleep_s"] for end in ends)
    yield Verdict("the longest time that the machine did not let a probe run", f"{asleep:.2f} s", None)
    broken = int(sum(end["reconnected"] for end in ends))
    yield Verdict("no TCP connection broke", str(broken), broken == 0)
    yield Verdict("keys rotated", f"{handshakes} handshakes", handshakes >= run_s / 10)


def soak(minutes: float, seed: int, out: Path) -> bool:
    """Whether all held."""
    build(DAEMON)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with Lab(DAEMON, DAEMON, psk=True) as lab:
        lab.establish()
        flows = {plan.name: Flow(lab, plan) for plan in FLOWS}
        unrest = Unrest(lab, seed)
        unrest.fill()
        samples: dict[str, list[Sample]] = {site.name: [] for site in lab.sites}
        began, handshakes, last = time.monotonic(), 0, ""
        next_sample, next_told = 0.0, 60.0
        while (now := time.monotonic() - began) < minutes * 60:
            time.sleep(0.5)
            at = unrest.last_handshake()
            handshakes += at != last
            last = at
            unrest.step()
            if now >= next_sample:
                next_sample = now + SAMPLE_EVERY_S
                for site in lab.sites:
                    samples[site.name].append(sample(site.pid, began))
            if now >= next_told:
                next_told = now + 60
                print(f"{now / 60:.0f} min: {handshakes} handshakes", flush=True)
        unrest.end()
        tallies = {name: flow.tallies() for name, flow in flows.items()}
        found = list(verdicts(lab, tallies, samples, handshakes, minutes * 60))
        report = {
            "daemon": version(build(DAEMON)),
            "commit": run("git", "-C", str(ROOT), "describe", "--always", "--dirty").strip(),
            "machine": machine(),
            "began": started,
            "strangers": STRANGERS,
            "minutes": minutes,
            "seed": seed,
            "unrest": unrest.done,
            "preshared_key_apart_s": round(unrest.apart_s, 3),
            "flows": tallies,
            "verdicts": [asdict(one) for one in found],
            "samples": {name: [asdict(one) for one in of] for name, of in samples.items()},
        }
    out.write_text(json.dumps(report, indent=1) + "\n")
    print("\n".join(map(str, found)), f"-> {out}", sep="\n")
    return all(one.holds is not False for one in found)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=REPORT)
    given = parser.parse_args(arguments)
    return 0 if soak(given.minutes, given.seed, given.out) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
