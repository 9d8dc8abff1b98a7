"""What top knows of the interfaces, in which order it shows them, and that its screen fits."""

import itertools
import re

import pytest

from pywg.errors import DeviceError
from pywg.manage import client, top_loop
from pywg.manage.sight import Sight
from pywg.manage.top import COLUMNS, HISTORY, Model
from pywg.manage.top_loop import Top
from pywg.manage.top_screen import sparkline
from pywg.manage.units import cells
from tests.manage import made, screens


def plain(text: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", text).rstrip("\n").split("\n")


def topped(peers: int, *, interfaces: int = 1, ticks: int = 3) -> Top:
    shown = Top(None, 1.0)
    names = [f"wg{number}" for number in range(interfaces)]
    clock = itertools.count()
    shown.model = Model(names=lambda _: made.sight(peers).names, threads_of=lambda _: made.threads(next(clock)))
    for tick in range(ticks):
        shown.model.take({name: made.sight(peers, tick=tick, interface=name) for name in names}, {})
    return shown


def test_rates_histories_batches_and_threads() -> None:
    model = topped(5).model
    rows = model.rows()
    assert [row.name for row in rows] == ["berlin", "paris", "vienna", "lisbon", "oslo"]
    grown = made.sight(5, tick=2).status.peers[0].rx_bytes - made.sight(5, tick=1).status.peers[0].rx_bytes
    assert rows[0].rx_rate == grown
    assert len(rows[0].history) == len(model.rx) == 2
    assert model.rx[-1] == sum(row.rx_rate for row in rows)
    assert model.batches == pytest.approx((61_000 / 2100, 120_000 / 4300, 118_000 / 3900))
    shares = [(thread.name, round(thread.share, 2)) for thread in model.threads]
    assert shares == [("pywg", 0.01), ("pywg-tx", 0.44), ("pywg-rx", 0.93), ("pywg-h0", 0.61), ("pywg-h1", 0.6)]
    assert [(drop.name, speed) for drop, speed in model.dropping] == [("rx_source_not_allowed", 37), ("tx_no_peer", 0)]


def test_what_is_gone_is_forgotten_and_nothing_grows() -> None:
    shown = topped(50, ticks=HISTORY + 20)
    model = shown.model
    assert len(model.rx) == HISTORY
    assert max(len(row.history) for row in model.rows()) == HISTORY
    model.take({"wg0": made.sight(3, tick=500)}, {})
    assert len(model._histories) <= 3
    model.take({}, {"wg0": "root alone"})
    assert (model.rows(), model._histories, model.threads) == ([], {}, [])


def test_a_daemon_that_was_started_anew_has_no_negative_rates() -> None:
    model = topped(3).model
    model.take({"wg0": made.sight(3, tick=0)}, {})
    assert all(row.rx_rate >= 0 for row in model.rows())
    assert all(speed >= 0 for _, speed in model.dropping)


@pytest.mark.parametrize("column", COLUMNS)
def test_each_column_sorts_both_ways(column: str) -> None:
    model = topped(50).model
    rows = model.rows(column)
    assert rows == sorted(rows, key=COLUMNS[column])  # type: ignore[arg-type]
    assert {row.key for row in model.rows(column, backwards=True)} == {row.key for row in rows}
    assert model.rows(column, backwards=True)[0] != rows[0]


@pytest.mark.parametrize("columns", [100, 110, 200])
def test_endpoints_are_whole_where_there_is_room(columns: int) -> None:
    """Names and bars take what is left."""
    shown = topped(12)
    drawn = "\n".join(plain(shown.drawn(columns, 40)))
    ends = [row.endpoint for row in shown.model.rows()]
    assert [one for one in ends if one not in drawn] == []
    assert max(map(len, ends)) > 18


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_numbers_stand_beside_what_they_are_of_on_a_screen_of_any_width(columns: int) -> None:
    shown = topped(3, ticks=HISTORY)
    drawn = plain(shown.drawn(columns, 24))
    longest = max(len(row.endpoint) for row in shown.model.rows())
    at = drawn[8].index("endpoint")
    assert drawn[8].index("rx/s") - at <= max(longest, len("endpoint")) + 3
    assert drawn[9][at:].startswith(shown.model.rows()[0].endpoint)
    assert len(drawn[9].rstrip()) >= min(columns - 1, at + 100), "bars have what is left"


def test_no_rate_is_told_before_there_are_two_looks() -> None:
    first, later = ("\n".join(plain(topped(2, ticks=ticks).drawn(100, 24))) for ticks in (1, 2))
    assert not re.search(r"\b0 b/s|\b0\.0 a send|\b0%|/s\)", first)
    assert re.search(r"received +- ", first)
    assert all(re.search(told, later) for told in (r"received +[\d.]+ .?b/s", r"[\d.]+ a send", r"\d%", r"/s\)"))


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
@pytest.mark.parametrize("lines", [12, 24, 60])
@pytest.mark.parametrize(("peers", "interfaces"), [(0, 1), (1, 1), (5, 3), (1000, 1)])
def test_the_screen_is_filled_and_not_overrun(columns: int, lines: int, peers: int, interfaces: int) -> None:
    drawn = plain(topped(peers, interfaces=interfaces).drawn(columns, lines))
    assert len(drawn) == lines
    assert max(map(cells, drawn)) <= columns
    assert drawn[-1].startswith("q quit")


@pytest.mark.parametrize(("columns", "lines"), [(59, 24), (80, 11), (1, 1)])
def test_a_screen_that_is_too_small_says_so(columns: int, lines: int) -> None:
    drawn = plain(topped(5).drawn(columns, lines))
    assert max(map(cells, drawn)) <= columns
    assert len(drawn) <= lines


def test_keys() -> None:
    shown = topped(1000)
    first = plain(shown.drawn(80, 24))
    for key in ("down", "down", "up"):
        assert shown.press(key)
    assert plain(shown.drawn(80, 24))[9] == first[10]
    shown.press("end")
    assert plain(shown.drawn(80, 24))[-1].endswith("-1000 of 1000 peers")
    assert shown.first < 1000
    shown.press("page up")
    shown.press("home")
    assert shown.first == 0
    by = shown.by
    shown.press("right")
    assert shown.by != by
    assert f"{shown.by}▼" in plain(shown.drawn(80, 24))[8]
    shown.press("left")
    assert shown.by == by
    shown.press("r")
    assert f"{by}▲" in plain(shown.drawn(80, 24))[8]
    assert shown.press("x")
    assert not any(shown.press(key) for key in ("q", "Q", "escape"))


@pytest.mark.parametrize(("columns", "shown"), [(80, 13), (110, 23), (200, 60)])
def test_long_names_have_what_the_bars_leave(columns: int, shown: int) -> None:
    top = topped(3, ticks=2)
    name = "gateway-of-the-headquarters-in-frankfurt-am-main-building-17"
    top.model.names = lambda _: {made.key(0): name}
    top.model.take({"wg0": made.sight(3, tick=3)}, {})
    drawn = plain(top.drawn(columns, 24))
    assert max(map(cells, drawn)) <= columns
    assert any(line.startswith(name[:shown]) for line in drawn)
    assert any(name in line for line in drawn) == (columns == 200)


def test_names_and_causes_move_no_cursor() -> None:
    shown = topped(3)
    sight = made.sight(3)
    sight.names = {made.key(0): "東京" * 40}
    shown.model.names = lambda _: sight.names
    shown.model.take({"wg0": sight}, {})
    assert max(map(cells, plain(shown.drawn(80, 24)))) <= 80


def test_no_color_has_none() -> None:
    shown = topped(5)
    shown._color = False
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", shown.drawn(80, 24))


def test_sparklines() -> None:
    assert sparkline((), 4) == "    "
    assert sparkline((0.0, 0.0), 4) == "    "
    assert sparkline((0.0, 1.0, 8.0), 4) == "  ▁█"
    assert sparkline((8.0, 4.0, 8.0), 2) == "▄█"
    assert sparkline((0.001, 800.0), 2) == "▁█"  # a little is not nothing


def test_a_look_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start it is an error, and later the end."""
    answers: list[Sight | DeviceError] = [made.sight(1), made.sight(1, tick=1), DeviceError(2, "it has gone")]

    def glance(name: str) -> Sight:
        answer = answers.pop(0)
        if isinstance(answer, DeviceError):
            raise answer
        return answer

    monkeypatch.setattr(top_loop, "glance", glance)
    monkeypatch.setattr(client, "troubles", lambda name: [])
    monkeypatch.setattr(top_loop, "serving", lambda name: None)
    shown = Top("wg0", 1.0)
    assert shown.look() == shown.look() == ""
    assert shown.look() == "wg0 has ended"
    answers.append(DeviceError(13, "root alone"))
    with pytest.raises(DeviceError, match="root alone"):
        Top("wg0", 1.0).look()
    monkeypatch.setattr(client, "served", list)
    assert Top(None, 1.0).look() == "nothing runs"


@pytest.mark.parametrize("what", ["status", "top"])
def test_the_pictures_are_those_of_today(what: str) -> None:
    """Their text is: how it is drawn differs between versions of rich."""
    columns, lines, peers = screens.PICTURES[what]
    draw = screens.status if what == "status" else screens.top
    picture = (screens.DOCS / f"{what}.svg").read_text()
    assert "http" not in picture.replace("http://www.w3.org/", "").replace("https://www.textualize.io", "")
    text = re.sub(r"\s|&#160;", "", "".join(re.findall(r"<text [^>]*>([^<]*)</text>", picture)))
    for line in plain(draw(columns, lines, peers)):
        words = re.sub(r"\s", "", line).replace("&", "&amp;").replace("'", "&#x27;")
        assert words in text, "python -m tests.manage.screens draws them anew"
