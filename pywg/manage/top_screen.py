"""The screen of `pywg top`, of rich's pieces: what is in a model, within so many columns and lines."""

from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pywg.manage.top import COLUMNS, Model, Row
from pywg.manage.units import cells, fitted, plural, printable, rate, short_rate, short_size, size, span
from pywg.manage.verdict import State, Verdict, tally

_BARS: Final = " ▁▂▃▄▅▆▇█"
_STYLE: Final = {
    State.UP: "green",
    State.NO_ANSWER: "bold red",
    State.STALE: "bold red",
    State.NO_HANDSHAKE: "yellow",
    State.CONNECTING: "yellow",
    State.WAITING: "yellow",
}
_KEYS: Final = "q quit   ← → column   r reverse   ↑ ↓ scroll"
_DROPS_SHOWN: Final = 2
_WIDE: Final = 100
"""Columns from which totals have room."""
_SPARK, _WIDE_SPARK = 8, 60
_NOT_YET: Final = "-"
"""A rate before there have been two looks."""
_NAME, _NARROW_NAME = 24, 14
_INTERFACE, _VERDICT, _NUMBER, _NARROW_NUMBER = 9, 18, 6, 5
_ENDPOINT, _SHORT_ENDPOINT = 47, 10
"""Columns of the longest: IPv6, in brackets, with a port."""


def sparkline(history: tuple[float, ...], width: int, most: float = 0.0) -> str:
    """The last `width` values as bars, the highest one as high as `most` or as the largest of them."""
    values = history[-width:]
    top = max(most, *values, 0.0) if values else 0.0
    if top <= 0:
        return " " * width
    steps = len(_BARS) - 1
    return "".join(_BARS[0 if one <= 0 else max(1, round(one / top * steps))] for one in values).rjust(width)


def screen(
    model: Model, *, columns: int, lines: int, by: str, backwards: bool, first: int
) -> tuple[RenderableType, int]:
    """What is to be drawn, and the first row that it shows: `first`, or the last that leaves the screen full."""
    rows = model.rows(by, backwards=backwards)
    above = [*_head(model, rows, columns), *_activity(model, columns), *_drops(model, columns)]
    room = max(lines - len(above) - 2, 1)  # the table's header, and the keys
    first = max(min(first, len(rows) - room), 0)
    shown = rows[first : first + room]
    table = _table(shown, _Widths(rows, columns, several=len(model.sights) > 1), by=by, backwards=backwards)
    return Group(*above, table, *[Text()] * (room - len(shown)), _foot(rows, shown, first, columns)), first


def _head(model: Model, rows: list[Row], columns: int) -> list[Text]:
    if len(model.sights) == 1:
        (sight,) = model.sights.values()
        what = Text().append(sight.interface, "bold green")
        if "uptime_seconds" in sight.stats:
            what.append(f"  up {span(sight.number('uptime_seconds'))}", "green")
        facts = [f"PID {sight.daemon.pid}"] if sight.daemon.pid else []
        facts += [f"port {sight.status.listen_port}"] if sight.status.listen_port else []
        facts += [sight.stats["aead"]] if "aead" in sight.stats else []
        what.append(f"  {', '.join(facts)}")
    else:
        what = Text(f"{plural(len(model.sights), 'interface')}: {', '.join(model.sights)}", "bold green")
    peers = Text().append("peers     ", "dim").append(f"{len(rows)}", "bold")
    verdicts: list[Verdict] = [row.verdict for row in rows]
    if rows:
        peers.append(f": {tally(verdicts)}")
    if model.refused:
        peers.append(f"   not to be seen: {', '.join(model.refused)}", "yellow")
    return [_cut(what, columns), _cut(peers, columns)]


def _activity(model: Model, columns: int) -> list[Text]:
    width = max(min(columns - 50, _WIDE_SPARK), 10)
    lines = []
    for label, history, totals in (("received", model.rx, "rx_bytes"), ("sent", model.tx, "tx_bytes")):
        now = rate(history[-1]) if history else _NOT_YET
        total = sum(getattr(peer, totals) for sight in model.sights.values() for peer in sight.status.peers)
        line = Text().append(f"{label:10}", "dim").append(f"{now:>11}", "bold")
        line.append(f" {sparkline(tuple(history), width)} ", "cyan").append(f"{size(total)} in all")
        lines.append(_cut(line, columns))
    sent, received, written = (f"{one:.1f}" if model.rx else _NOT_YET for one in model.batches)
    batches = f"{sent} a send, {received} a receive, {written} a write to the TUN"
    lines.append(_cut(Text().append("batches   ", "dim").append(batches, "default"), columns))
    busy = Text().append("threads   ", "dim")
    several = len(model.sights) > 1
    for thread in sorted(model.threads, key=lambda one: -one.share) if several else model.threads:
        name = f"{thread.interface}/{thread.name}" if several else thread.name
        busy.append(f"{printable(name)} ")
        share = f"{thread.share:.0%}" if model.rx else _NOT_YET
        busy.append(f"{share}  ", "bold red" if thread.share > 0.9 else "bold")
    if not model.threads:
        busy.append("not told", "dim")
    lines.append(_cut(busy, columns))
    return lines


def _drops(model: Model, columns: int) -> list[Text]:
    """Always as many lines, so that the table below doesn't jump."""
    lines = []
    for number in range(_DROPS_SHOWN):
        line = Text().append(" " * 10 if number else "drops     ", "dim")
        if number < len(model.dropping):
            drop, speed = model.dropping[number]
            now = f" ({short_rate(speed / 8)}/s)" if model.rx else ""
            line.append(f"{drop.times:,} {drop.name}{now}: ", "red" if speed else "yellow")
            line.append(drop.reason.meaning)
        elif not number:
            line.append("none")
        lines.append(_cut(line, columns))
    return lines


class _Widths:
    """Of the table's columns: as all rows need them, so that they stay when it is scrolled. The bars have what is left
    of a wide screen, and give way first."""

    def __init__(self, rows: list[Row], columns: int, *, several: bool) -> None:
        self.columns = columns
        self.several = several
        self.totals = columns >= _WIDE
        self.number = _NUMBER if self.totals else _NARROW_NUMBER
        longest = max((cells(row.name) for row in rows), default=0)
        self.name = min(max(longest, len("peer▼")), _NAME if self.totals else _NARROW_NAME)
        others = self.name + 1 + several * (_INTERFACE + 1) + _VERDICT + 1 + (2 + 2 * self.totals) * (self.number + 1)
        self.endpoint = 0
        if self.totals or not several:
            endpoint = min(max((len(row.endpoint) for row in rows), default=0), _ENDPOINT)
            self.endpoint = max(min(endpoint, columns - others - 1 - _SPARK), _SHORT_ENDPOINT)
            others += self.endpoint + 1
        self.spark = max(min(columns - others, _WIDE_SPARK), _SPARK)
        self.name += max(min(columns - others - self.spark, longest - self.name), 0)


def _table(rows: list[Row], widths: _Widths, *, by: str, backwards: bool) -> Table:
    totals, several, spark = widths.totals, widths.several, widths.spark
    table = Table(
        box=None, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, width=widths.columns, header_style="reverse"
    )
    mark = "▲" if backwards else "▼"

    def add(name: str, **options: object) -> None:
        title = f"{name}{mark}" if name == by else name
        table.add_column(Text(title, "reverse bold" if name == by else "reverse"), no_wrap=True, **options)  # type: ignore[arg-type]

    add("peer", width=widths.name)
    if several:
        add("interface", width=_INTERFACE)
    add("handshake", width=_VERDICT)
    if widths.endpoint:
        add("endpoint", width=widths.endpoint)
    for name in ("rx/s", "tx/s", *(("rx", "tx") if totals else ())):
        add(name, width=widths.number, justify="right")
    add("both", ratio=1, min_width=spark)
    for row in rows:
        texts = [Text(row.name, "yellow")]
        texts += [Text(row.interface)] if several else []
        texts.append(Text(row.verdict.words, _STYLE.get(row.verdict.state, "dim")))
        texts += [Text(row.endpoint)] if widths.endpoint else []
        texts += [Text(short_rate(one) if row.history else _NOT_YET) for one in (row.rx_rate, row.tx_rate)]
        texts += [Text(short_size(row.rx_bytes)), Text(short_size(row.tx_bytes))] if totals else []
        table.add_row(*texts, Text(sparkline(row.history, spark), "cyan"))
    return table


def _foot(rows: list[Row], shown: list[Row], first: int, columns: int) -> Text:
    text = _KEYS
    if len(shown) < len(rows):
        text += f"   {first + 1}-{first + len(shown)} of {plural(len(rows), 'peer')}"
    return _cut(Text(text, "dim"), columns)


def _cut(text: Text, columns: int) -> Text:
    text.truncate(columns, overflow="ellipsis")
    text.no_wrap = True
    return text


def columns_after(by: str, step: int) -> str:
    """The column that is `step` further to the right, round the ends."""
    names = list(COLUMNS)
    return names[(names.index(by) + step) % len(names)]


def too_small(columns: int, lines: int) -> Text:
    """In place of a screen that has no room."""
    return Text(fitted(f"{columns}x{lines} is too small: 60x12 at least", columns))
