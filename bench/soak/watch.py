"""What hours of a daemon show: samples of its memory and descriptors, their slope, and verdicts."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
WARM_UP = 0.2
"""The share of the samples that are left out of a slope: buffers on first use, and the allocator's habits."""
SLOPE_MAX = 0.5
OUTAGE_MAX_S = 1.0
SLOPE_NEEDS_S = 1800.0
"""Below that a page more or less is a steep slope."""


@dataclass(frozen=True)
class Sample:
    """One look: seconds since the beginning, bytes that are the process's own, descriptors, threads."""

    at_s: float
    private_bytes: int
    fds: int
    threads: int


def sample(pid: int, began: float) -> Sample:
    """OSError: the process is gone."""
    proc = Path("/proc", str(pid))
    rows = [line.split() for line in proc.joinpath("smaps_rollup").read_text().splitlines()[1:]]
    private = sum(int(row[1]) for row in rows if row[0] in {"Private_Clean:", "Private_Dirty:"}) * 1024
    descriptors, threads = (len(list(proc.joinpath(name).iterdir())) for name in ("fd", "task"))
    return Sample(round(time.monotonic() - began, 1), private, descriptors, threads)


def quarters(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    """The samples in four parts, in order."""
    edges = [len(samples) * part // 4 for part in range(5)]
    return [samples[begin:end] for begin, end in itertools.pairwise(edges)]


def settled(samples: Sequence[Sample]) -> Sequence[Sample]:
    return samples[int(len(samples) * WARM_UP) :]


def slope_mib_h(rest: Sequence[Sample]) -> float:
    """The least-squares line through the samples' memory, in MiB an hour; 0 of fewer than two."""
    if len(rest) < 2:
        return 0.0
    middle_s = sum(one.at_s for one in rest) / len(rest)
    middle = sum(one.private_bytes for one in rest) / len(rest)
    spread = sum((one.at_s - middle_s) ** 2 for one in rest)
    rise = sum((one.at_s - middle_s) * (one.private_bytes - middle) for one in rest)
    return rise / spread * 3600 / MIB


@dataclass(frozen=True)
class Verdict:
    """One thing that was wanted; `holds` is None where the run was too short to tell."""

    what: str
    found: str
    holds: bool | None

    def __str__(self) -> str:
        return f"{ {True: 'yes', False: 'NO', None: '-'}[self.holds]:4} {self.what}: {self.found}"


def of_daemon(name: str, samples: Sequence[Sample]) -> list[Verdict]:
    """Memory that does not grow, descriptors and threads that stay."""
    rest = settled(samples)
    slope = slope_mib_h(rest)
    first, last = (min(one.fds for one in part) for part in (rest[: len(rest) // 4 + 1], rest[-len(rest) // 4 - 1 :]))
    long_enough = bool(samples) and samples[-1].at_s >= SLOPE_NEEDS_S
    fds, threads = ({getattr(one, field) for one in rest} for field in ("fds", "threads"))
    return [
        Verdict(
            f"{name}: memory grows by at most {SLOPE_MAX} MiB an hour",
            f"{slope:.2f} MiB/h, {samples[-1].private_bytes / MIB:.1f} MiB at the end; by quarters of the run "
            + ", ".join(f"{slope_mib_h(part):.2f}" for part in quarters(samples)),
            slope <= SLOPE_MAX if long_enough else None,
        ),
        Verdict(
            f"{name}: as many descriptors at the end as after the start, but for clients", _range(fds), last <= first
        ),
        Verdict(f"{name}: as many threads", _range(threads), len(threads) == 1),
    ]


def _range(values: set[int]) -> str:
    return str(*values) if len(values) == 1 else f"{min(values)} to {max(values)}"
