"""iperf3 and ping between two sites, and what they measured."""

import contextlib
import json
import math
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

from .command import CommandError
from .site import Site, poll

_PORT = 5201
_PING_REPLY = re.compile(r"time=([\d.]+) ms")


@dataclass(frozen=True, slots=True)
class Throughput:
    """What arrived: bits per second, bytes, the share of UDP datagrams lost (0..1), and datagrams per second sent."""

    bits_per_s: float
    received_bytes: int
    lost: float = 0.0
    packets_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Round-trip times in milliseconds, and the share of pings that stayed unanswered (0..1)."""

    p50_ms: float
    p99_ms: float
    lost: float


def tcp(source: Site, target: Site, address: str, seconds: float, *, streams: int = 1, mode: str = "") -> Throughput:
    """TCP from source to target. mode "reverse": the other way; "bidir": both at once, the two directions summed.

    Raises CommandError, also where a direction carried nothing: iperf3 itself takes that for a measurement.
    """
    options = ["-P", str(streams), *([f"--{mode}"] if mode else [])]
    return tcp_throughput(_iperf3(source, target, address, seconds, options)["end"], both=mode == "bidir")


def tcp_throughput(end: dict[str, Any], *, both: bool = False) -> Throughput:
    """What arrived, of `both` directions if so. Raises CommandError where a direction carried nothing."""
    sums = [end["sum_received"]] + ([end["sum_received_bidir_reverse"]] if both else [])
    if not all(one["bytes"] for one in sums):
        raise CommandError("iperf3: a TCP stream carried nothing")
    return Throughput(sum(one["bits_per_second"] for one in sums), sum(one["bytes"] for one in sums))


def udp(source: Site, target: Site, address: str, seconds: float, *, size: int, bits_per_s: float) -> Throughput:
    """UDP datagrams of `size` payload bytes offered at `bits_per_s` (of payload), from source to target."""
    # Large socket buffers and no pacing below 1 ms: the tunnel is to be measured, and not iperf3's bursts.
    options = ["-u", "-l", str(size), "-b", str(int(bits_per_s)), "-w", "4M", "--pacing-timer", "200"]
    return udp_throughput(_iperf3(source, target, address, seconds, options)["end"], size)


def udp_throughput(end: dict[str, Any], size: int) -> Throughput:
    """Counts what the receiver has: iperf3's own `lost_packets` knows nothing of those behind the last that arrived."""
    sent, seconds = end["sum"]["packets"], end["sum"]["seconds"]
    received = end["sum_received"]["bytes"]
    lost = 1 - received / (sent * size) if sent else 1.0
    return Throughput(received * 8 / seconds, received, lost, sent / seconds)


def _iperf3(source: Site, target: Site, address: str, seconds: float, options: list[str]) -> dict[str, Any]:
    command = [
        "iperf3",
        "-J",
        "-c",
        address,
        "-p",
        str(_PORT),
        "-t",
        str(max(1, round(seconds))),  # it knows whole seconds only, and 0 has no end
        "--connect-timeout",
        "3000",
        *options,
    ]
    with _server(target, address):
        report: dict[str, Any] = json.loads(source.namespace.run(*command, timeout=seconds + 20))
    if "error" in report:
        raise CommandError(f"iperf3: {report['error']}")
    return report


@contextlib.contextmanager
def _server(target: Site, address: str) -> Iterator[None]:
    """One server a run (-1): a run that failed can't leave a server behind that is busy."""
    server = target.namespace.start(
        ["iperf3", "-s", "-1", "-B", address, "-p", str(_PORT)], stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        poll(lambda: _listens(server.pid, _PORT), "iperf3 listens")
        yield
    finally:
        server.kill()
        server.wait()


@contextlib.contextmanager
def background(source: Site, target: Site, address: str) -> Iterator[None]:
    """A TCP stream from source to target that runs while the block lasts, to measure something else under load."""
    with _server(target, address):
        before = target.transferred()[0]
        command = ["iperf3", "-c", address, "-p", str(_PORT), "-t", "600"]
        client = source.namespace.start(command, stdout=DEVNULL, stderr=DEVNULL)
        try:
            poll(lambda: target.transferred()[0] > before + 5_000_000, "the background stream moves data")
            yield
        finally:
            client.kill()
            client.wait()


def _listens(pid: int, port: int) -> bool:
    """Whether something in the namespace of process `pid` listens on the TCP port, from the kernel's socket tables."""
    rows = [
        line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()
    ]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


def ping(source: Site, address: str, *, count: int, interval_s: float = 0.01) -> RoundTrips:
    """Pings `count` times, one every `interval_s`. Raises CommandError when nothing at all is answered."""
    timeout = count * interval_s + 10
    output = source.namespace.run(
        "ping", "-n", "-i", f"{interval_s:g}", "-c", str(count), "-W", "2", address, timeout=timeout
    )
    times = sorted(float(found) for found in _PING_REPLY.findall(output))
    return RoundTrips(percentile(times, 50), percentile(times, 99), 1 - len(times) / count)


@contextlib.contextmanager
def pinging(source: Site, address: str, interval_s: float) -> Iterator[list[float]]:
    """Pings while the block lasts. The round-trip times, in ms, are in the list once it has ended.

    Raises CommandError when none was answered.
    """
    times: list[float] = []
    command = ["ping", "-n", "-i", f"{interval_s:g}", "-W", "2", address]
    client = source.namespace.start(command, stdout=PIPE, stderr=DEVNULL)
    try:
        yield times
        client.send_signal(signal.SIGINT)
        output, _ = client.communicate(timeout=10)
    finally:
        client.kill()
        client.wait()
    times += [float(found) for found in _PING_REPLY.findall(output.decode())]
    if not times:
        raise CommandError(f"no ping to {address} was answered")


def percentile(ordered: list[float], percent: float) -> float:
    """The nearest-rank percentile of an ascending, non-empty list."""
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]
