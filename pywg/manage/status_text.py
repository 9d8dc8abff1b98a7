"""`pywg status` for people: one screen an interface, its peers last, those in trouble first.

Lines are lists of pieces with a style each; `painted` makes them text, with or without colours.
"""

import textwrap
from collections.abc import Iterable
from typing import Final, NamedTuple

from pywg.config.addresses import format_sock_addr
from pywg.config.keys import format_key_base64
from pywg.config.model import PeerStatus
from pywg.manage.reasons import drops
from pywg.manage.sight import Rates, Sight
from pywg.manage.units import cells, fitted, padded, plural, rate, short_rate, short_size, size, span
from pywg.manage.verdict import TROUBLES, State, Verdict, place, tally, verdict
from pywg.runtime.base.in_use import is_beside, out_of_reach

Line = list[tuple[str, str]]
"""Pieces of text, each with its style: one of STYLES, or "" for none."""
STYLES: Final = {
    "name": "1;32",
    "label": "2",
    "peer": "33",
    "good": "32",
    "bad": "1;31",
    "warn": "33",
    "dim": "2",
}
_OF_STATE: Final = {
    State.UP: "good",
    State.NO_ANSWER: "bad",
    State.STALE: "bad",
    State.NO_HANDSHAKE: "warn",
    State.CONNECTING: "warn",
    State.WAITING: "warn",
}
_LABEL: Final = 12
_DROPS_SHOWN: Final = 2
_FEWEST_PEERS: Final = 3
_FEWEST_COLUMNS: Final = 40
_ENDS_FROM: Final = 60
"""Columns from which endpoints have room."""
_NARROW_ENDPOINT, _WIDE_NAME = 21, 24
_WORDS: Final = 18
_INDENT: Final = 6
_WIDE_ENOUGH: Final = 76
"""Columns from which totals have room beside rates."""


class Room(NamedTuple):
    """The screen to fill."""

    columns: int
    lines: int | None
    """None: as many as there are"""


def interface_lines(sight: Sight, speed: Rates | None, room: Room) -> list[Line]:
    """An interface and its peers. `room.lines` bounds the peers, of which the last line tells how many are left out."""
    width = max(room.columns, _FEWEST_COLUMNS)
    found = [(peer, verdict(sight, peer)) for peer in sight.status.peers]
    found.sort(key=lambda one: place(one[1]))
    above = [
        *_title(sight, width),
        *_facts(sight, speed, [one for _, one in found], width, short=room.lines is not None),
    ]
    if not found:
        return [*above, [("  no peers", "dim")]]
    left = None if room.lines is None else max(room.lines - len(above) - 2, _FEWEST_PEERS)
    return [*above, [], *_table(sight, speed, found, width, left)]


def painted(lines: Iterable[Line], *, color: bool) -> str:
    """The lines as text, each with its newline."""
    return "".join(
        "".join(f"\x1b[{STYLES[style]}m{text}\x1b[0m" if color and style else text for text, style in line).rstrip()
        + "\n"
        for line in lines
    )


def _title(sight: Sight, width: int) -> list[Line]:
    line: Line = [(sight.interface, "name")]
    if sight.is_pywg:
        if sight.number("up"):
            line.append((f"  up {span(sight.number('uptime_seconds'))}", "good"))
        else:
            line.append((f"  down: `ip link set {sight.interface} up`", "bad"))
    program = sight.daemon.program or ("pywg" if sight.is_pywg else "another daemon")
    program += f" {sight.stats['version']}" if "version" in sight.stats else ""
    facts = [f"{program}, PID {sight.daemon.pid}" if sight.daemon.pid else program]
    if sight.status.listen_port:
        facts.append(f"port {sight.status.listen_port}")
    if sight.number("mtu"):
        facts.append(f"MTU {sight.number('mtu')}")
    if sight.status.fwmark:
        facts.append(f"mark {sight.status.fwmark:#x}")
    used = sum(cells(text) for text, _ in line) + 3
    if width - used < 20:
        return [line, *_wrapped(", ".join(facts), width, 2, "")]
    first, *others = textwrap.wrap(", ".join(facts), max(width - used, 20), break_on_hyphens=False)
    return [[*line, (f"   {first}", "")], *([(" " * used + other, "")] for other in others)]


def _facts(sight: Sight, speed: Rates | None, found: list[Verdict], width: int, *, short: bool) -> list[Line]:
    lines: list[Line] = []
    addresses = ", ".join(sight.addresses) or "none"
    if not sight.here:
        addresses = "the interface is in another network namespace"
    lines += _fact("addresses", addresses, width)
    if is_beside(sight.daemon):
        lines += _fact("wg", out_of_reach(sight.interface), width, "warn")
    if sight.public_key is not None:
        lines += _fact("public key", format_key_base64(sight.public_key), width)
    elif sight.private_key_is_set is False:
        lines += _fact("public key", "none: no private key is set", width, "bad")
    if sight.is_pywg and sight.number("up") and not sight.number("sockets_open"):
        lines += _fact("sockets", "none: the UDP port can't be had, and the log says why", width, "bad")
    rx, tx = (sum(getattr(peer, name) for peer in sight.status.peers) for name in ("rx_bytes", "tx_bytes"))
    now_rx, now_tx = (f"{rate(speed.rx)}, " if speed else "", f"{rate(speed.tx)}, " if speed else "")
    lines += _fact("traffic", f"received {now_rx}{size(rx)} in all; sent {now_tx}{size(tx)} in all", width)
    if sight.is_pywg:
        lines += _fact("cipher", _cipher(sight.stats), width)
        lines += _fact("offloads", _offloads(sight.stats), width)
        lines += _fact("runs with", _resources(sight), width)
        text, style = _sandbox(sight)
        lines += _fact("sandbox", text, width, style)
        lines += _drop_lines(sight, width, short=short)
    if found:
        style = "bad" if any(one.state in TROUBLES for one in found) else ""
        lines += _fact("peers", f"{len(found)}: {tally(found)}", width, style)
    return lines


def _fact(label: str, text: str, width: int, style: str = "") -> list[Line]:
    first, *others = textwrap.wrap(text, max(width - _LABEL - 2, 20), break_on_hyphens=False) or [""]
    lines: list[Line] = [[("  " + padded(label, _LABEL), "label"), (first, style)]]
    return [*lines, *([(" " * (_LABEL + 2) + other, style)] for other in others)]


def _cipher(stats: dict[str, str]) -> str:
    """The backend of ChaCha20-Poly1305, and why it is that one."""
    name, asked = stats.get("aead", "?"), stats.get("aead_asked")
    if asked is None:
        return name
    if asked != "auto":
        return f"{name}, because PYWG_AEAD names it"
    others = [one for one in stats.get("aead_available", "").split(",") if one and one != name]
    return f"{name}, the fastest here{' beside ' if others else ''}{', '.join(others)}"


def _offloads(stats: dict[str, str]) -> str:
    states = {
        name.removeprefix("offload_"): value == "1" for name, value in stats.items() if name.startswith("offload_")
    }
    off = [name for name, on in states.items() if not on]
    if not off:
        return f"all {len(states)} on"
    return f"off: {', '.join(off)}; the other {len(states) - len(off)} on" if len(off) < len(states) else "all off"


def _resources(sight: Sight) -> str:
    resident = f", {size(sight.resident_bytes)} of memory" if sight.resident_bytes else ""
    ceiling = f", buffers at most {size(sight.number('memory_ceiling'))}" if "memory_ceiling" in sight.stats else ""
    shards = f" in {sight.number('shards')} shards" if sight.number("shards") > 1 else ""
    return f"{plural(sight.number('threads'), 'thread')}{shards}{resident}{ceiling}"


def _sandbox(sight: Sight) -> tuple[str, str]:
    steps = ("no_new_privs", "capabilities", "landlock", "landlock_threads", "seccomp", "seccomp_threads")
    known = [step for step in steps if f"sandbox_{step}" in sight.stats]
    missing = [step for step in known if not sight.number(f"sandbox_{step}")]
    refused = sight.number("sandbox_refused")
    words = ["none" if known and len(missing) == len(known) else "whole" if not missing else ""]
    if 0 < len(missing) < len(known):
        words = [f"without {', '.join(missing)}"]
    words.append("keys locked in memory" if sight.number("secrets_locked") else "keys may be swapped: see the log")
    if refused >= 0:
        words.append(f"{refused or 'no'} call{'' if refused == 1 else 's'} refused{': see the log' if refused else ''}")
    good = not missing and refused <= 0 and sight.number("secrets_locked")
    return ", ".join(words), "" if good else "warn"


def _drop_lines(sight: Sight, width: int, *, short: bool) -> list[Line]:
    found = drops(sight.stats)
    if not found:
        return _fact("drops", "none", width)
    shown = found[:_DROPS_SHOWN] if short and len(found) > _DROPS_SHOWN else found
    lines: list[Line] = []
    for number, drop in enumerate(shown):
        text = f"{drop.times:,} {drop.name}: {drop.reason.meaning}"
        lines += _fact("" if number else "drops", text, width, "warn")
        lines += _fact("", f"→ {drop.reason.hint}", width, "dim")
    if len(found) > len(shown):
        lines += _fact("", f"and {len(found) - len(shown)} more: --all shows them", width, "dim")
    return lines


def _table(
    sight: Sight, speed: Rates | None, found: list[tuple[PeerStatus, Verdict]], width: int, left: int | None
) -> list[Line]:
    details = {peer.public_key: _wrapped_detail(one, width) for peer, one in found}
    shown = found
    if left is not None and sum(1 + len(detail) for detail in details.values()) > left:
        shown, used = [], 1  # the line that tells of the rest
        for peer, one in found:
            used += 1 + len(details[peer.public_key])
            if used > left and shown:
                break
            shown.append((peer, one))
    form = _Form(sight, [peer for peer, _ in shown], width, rates=speed is not None)
    lines = [form.header()]
    for peer, one in shown:
        lines.append(form.row(peer, one, speed.peers.get(peer.public_key, (0.0, 0.0)) if speed else (0.0, 0.0)))
        lines += details[peer.public_key]
    if rest := [one for _, one in found[len(shown) :]]:
        text = f"  and {plural(len(rest), 'peer')} more ({tally(rest)}): --all shows them"
        lines.append([(fitted(text, width), "dim")])
    return lines


def _wrapped_detail(one: Verdict, width: int) -> list[Line]:
    return _wrapped(one.detail, width, _INDENT, "bad" if one.state in TROUBLES else "warn")


def _wrapped(text: str, width: int, indent: int, style: str) -> list[Line]:
    texts = textwrap.wrap(text, width - indent, break_on_hyphens=False)
    return [[(" " * indent + text, style)] for text in texts]


class _Form:
    """The columns of the table of peers, as wide as what they hold, and no wider than the screen together."""

    def __init__(self, sight: Sight, peers: list[PeerStatus], width: int, *, rates: bool) -> None:
        self._sight = sight
        self._rates = rates
        self._totals = not rates or width >= _WIDE_ENOUGH
        numbers = (2 * rates + 2 * self._totals) * 6
        names = max([cells(sight.name_of(peer)) for peer in peers] or [0])
        ends = max([len(self._end(peer)) for peer in peers] or [0])
        room = width - 2 - 1 - _WORDS - 1 - numbers
        self._ends = width >= _ENDS_FROM
        self._name = min(max(names, 4), _WIDE_NAME, max(room - _NARROW_ENDPOINT, 8) if self._ends else room + 1)
        self._end_width = min(max(ends, 8), room - self._name)

    def header(self) -> Line:
        numbers = (*(("rx/s", "tx/s") if self._rates else ()), *(("rx", "tx") if self._totals else ()))
        endpoint = f" {padded('endpoint', self._end_width)}" if self._ends else ""
        return [
            (
                f"  {padded('peer', self._name)} {padded('handshake', _WORDS)}{endpoint}"
                + "".join(f" {padded(name, 5, right=True)}" for name in numbers),
                "label",
            )
        ]

    def row(self, peer: PeerStatus, one: Verdict, speed: tuple[float, float]) -> Line:
        numbers = [short_size(peer.rx_bytes), short_size(peer.tx_bytes)] if self._totals else []
        if self._rates:
            numbers = [*map(short_rate, speed), *numbers]
        end = f" {padded(fitted(self._end(peer), self._end_width), self._end_width)}" if self._ends else ""
        return [
            (f"  {padded(fitted(self._sight.name_of(peer), self._name), self._name)}", "peer"),
            (f" {padded(one.words, _WORDS)}", _OF_STATE.get(one.state, "dim")),
            (end, ""),
            ("".join(f" {padded(text, 5, right=True)}" for text in numbers), ""),
        ]

    @staticmethod
    def _end(peer: PeerStatus) -> str:
        return "-" if peer.endpoint is None else format_sock_addr(peer.endpoint)
