"""What pywg is to reach, beside its peers in the same run, and whether it did."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from bench import report

from .figures import BY_KEY
from .results import (
    CIPHER,
    FORWARDER,
    FORWARDER_CUTS,
    FORWARDER_SEALS,
    NO_CIPHER,
    OURS,
    Sample,
    Spread,
    by_round,
    spread,
    summarize,
)

NEWEST = "wireguard-go-new"
FORK = "tailscale"
OTHERS = (FORK, "wireguard-go", "boringtun", "gotatun", "openvpn")
MIB = 2**20
VXLAN_SHARE = 0.9
"""Of the bare stream, for VXLAN inside: a superframe there should cost the tunnel no more than another."""


@dataclass(frozen=True, slots=True)
class Target:
    """`key` of `of`, divided by the same of `against` where that is named, is to be at least or at most `bound`."""

    key: str
    bound: float
    against: str = ""
    at_most: bool = False
    of: str = OURS

    def met(self, value: float) -> bool:
        """Whether a value reaches the bound."""
        return value <= self.bound if self.at_most else value >= self.bound


@dataclass(frozen=True, slots=True)
class Outcome:
    """A target and what was measured: a ratio of medians with the range over the rounds, or a median; None: nothing."""

    target: Target
    measured: float | None
    rounds: Spread | None

    @property
    def met(self) -> bool | None:
        """None when nothing was measured."""
        return None if self.measured is None else self.target.met(self.measured)


_STREAMS = ("tcp_1", "tcp_4", "tcp_reverse", "tcp_bidir")
_DATAGRAMS = ("udp_1390_bits", "udp_64_pps")


def targets(aead: str) -> list[Target]:
    """All of them; those of the AEAD depend on the backend that the processor allows."""
    against_newest = [
        Target(key, bound, NEWEST)
        for key, bound in {
            **dict.fromkeys(_STREAMS, 2.8),
            "tcp_plain": 1.5,
            **dict.fromkeys(_DATAGRAMS, 5.0),
        }.items()
    ]
    against_fork = [Target(key, 1.95, FORK) for key in _STREAMS]
    ahead = [Target(key, 1.0, name) for name in OTHERS for key in _DATAGRAMS]
    others = [
        Target(key, bound, name)
        for name, bound in {"boringtun": 5.0, "openvpn": 8.0}.items()
        for key in ("tcp_1", "tcp_4", "tcp_reverse")
    ]
    costs = [
        Target(key, bound, NEWEST, at_most=True)
        for key, bound in {"cpu_s_per_gb": 0.31, "rtt_idle_p50": 0.5, "rtt_load_p99": 0.4}.items()
    ] + [Target(key, bound, FORK, at_most=True) for key, bound in {"cpu_s_per_gb": 0.45, "rtt_load_p99": 0.6}.items()]
    against_path = [
        *(Target(key, 0.95, FORWARDER_SEALS) for key in _STREAMS),
        Target("cpu_s_per_gb", 1.05, FORWARDER_SEALS, at_most=True),
    ]
    alone = [
        Target("peak_rss", 34 * MIB, at_most=True),
        Target("crowd_rss", 72 * MIB, at_most=True),
        Target("ready_s", 0.15, at_most=True),
        Target("stop_s", 1.0, at_most=True),
        Target("crowd_growth", 1.03, at_most=True),
        Target("change_set_s", 2.0, at_most=True),
        Target("change_get_s", 1.0, at_most=True),
        Target("change_stall_ms", 50.0, at_most=True),
        Target("efficiency", 0.85),
        Target("efficiency_bare", 0.95),
        Target("efficiency_cuts", 0.95),
        Target("cpu_over_bound", 1.05, at_most=True),
        Target("tcp_1", 0.96, FORWARDER, of=NO_CIPHER),
        Target("tcp_1", 0.96, FORWARDER_CUTS, of=NO_CIPHER),
        Target("aead_in_place", 1.08, at_most=True),
        Target("jumbo_gain", 1.25),
        Target("vxlan_share", VXLAN_SHARE),
    ]
    full, small = {"evp": (0.0, 0.0), "avx2": (1.2, 3.0)}.get(aead, (2.0, 6.0))
    kernels = [Target("aead_x_1420", full, of=CIPHER), Target("aead_x_64", small, of=CIPHER)] if full else []
    return [*against_newest, *against_fork, *ahead, *others, *costs, *against_path, *alone, *kernels]


def outcomes(samples: Iterable[Sample], aead: str) -> list[Outcome]:
    """Every target with what the samples say of it."""
    samples = list(samples)
    summary, rounds = summarize(samples), by_round(samples).values()
    found = []
    for target in targets(aead):
        ours = summary.get(target.of, {}).get(target.key)
        if target.against:
            theirs = summary.get(target.against, {}).get(target.key)
            each = [
                done[target.of][target.key] / done[target.against][target.key]
                for done in rounds
                if done.get(target.of, {}).get(target.key) and done.get(target.against, {}).get(target.key)
            ]
            measured = ours.median / theirs.median if ours and theirs and theirs.median else None
            found.append(Outcome(target, measured, spread(each) if each else None))
        else:
            found.append(Outcome(target, ours.median if ours else None, ours))
    return found


def table(found: Iterable[Outcome]) -> str:
    """A line for each target that was measured, and one that names the others."""
    found = list(found)
    rows = [_row(one) for one in found if one.met is not None]
    lines = [report.table(["target", "measured", "rounds", "to reach", "met"], rows)] if rows else []
    if without := [_title(one.target) for one in found if one.met is None]:
        lines.append(f"targets without a figure in this run: {'; '.join(without)}")
    return "\n".join(lines)


def as_json(found: Iterable[Outcome]) -> list[dict[str, Any]]:
    """The outcomes, for the file."""
    return [asdict(one.target) | {"measured": one.measured, "met": one.met} for one in found]


def _row(one: Outcome) -> list[str]:
    target, figure = one.target, BY_KEY[one.target.key]

    def show(value: float) -> str:
        return f"{value:.2f} x" if target.against else f"{figure.show(value)} {figure.unit}"

    assert one.measured is not None
    return [
        _title(target),
        show(one.measured),
        "-" if one.rounds is None else f"{show(one.rounds.low)} to {show(one.rounds.high)}",
        f"{'<=' if target.at_most else '>='} {show(target.bound)}",
        "yes" if one.met else "NO",
    ]


def _title(target: Target) -> str:
    title = BY_KEY[target.key].title
    if target.of != OURS and target.against:
        title = f"{title}, {target.of}"
    return f"{title} / {target.against}" if target.against else title
