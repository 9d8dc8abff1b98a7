"""Log lines: wireguard-go's form, its levels and two more, and a limit on what a stranger can cause."""

import datetime
import io
import json
import re
import time

import pytest

from pywg.errors import ConfigError
from pywg.runtime.base.log import (
    LIMIT_BURST,
    LIMIT_SECONDS,
    Form,
    Level,
    Log,
    level_of,
    parse_form,
    parse_level,
    peer_name,
)
from tests.lines import StreamOutput

pytestmark = pytest.mark.dropin("2")


def lines_at(level: Level) -> list[str]:
    stream = io.StringIO()
    log = Log("wg7", level, output=StreamOutput(stream))
    log.error("e")
    log.warning("w")
    log.info("i")
    log.debug("d")
    return stream.getvalue().splitlines()


@pytest.mark.parametrize(
    ("word", "count"),
    [
        *[(word, 0) for word in ("silent", "off", "none", "quiet")],
        *[(word, 1) for word in ("error", "ERR", "fatal", "panic", "critical", "crit", "alert", "emerg", "0", "3")],
        *[(word, 2) for word in ("warning", "warn", "WARN", "Warning", "4")],
        *[(word, 3) for word in ("info", "INFO", "notice", "information", "5", "6")],
        *[(word, 4) for word in ("debug", "verbose", "DEBUG", "trace", "all", "7", " debug\n")],
    ],
)
def test_level_words(word: str, count: int) -> None:
    assert len(lines_at(parse_level(word))) == count


@pytest.mark.parametrize("word", ["loud", "", " ", "8", "-1", "error,debug", "pywg=debug"])
def test_an_unknown_level_is_named(word: str) -> None:
    assert level_of(word) is None
    with pytest.raises(ConfigError, match=f"{word!r} is no log level: choose silent, error, warning, info, or"):
        parse_level(word)


def test_form_of_a_line() -> None:
    assert re.fullmatch(r"ERROR: \(wg7\) \d{4}/\d\d/\d\d \d\d:\d\d:\d\d e", lines_at(Level.ERROR)[0])


def test_time_of_a_line_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        for offset in ("-11:30", "+07:00"):  # POSIX counts westwards
            monkeypatch.setenv("TZ", f"HERE{offset}")
            time.tzset()
            (line,) = lines_at(Level.ERROR)
            said = datetime.datetime.strptime(" ".join(line.split()[2:4]), "%Y/%m/%d %H:%M:%S")
            # time(2), which the line's time comes from, may be a clock tick behind: no comparison to the second.
            assert abs(datetime.datetime.now() - said) < datetime.timedelta(minutes=5)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_limited_lines_stop_and_are_counted() -> None:
    stream, clock = io.StringIO(), [100.0]
    log = Log("wg7", Level.DEBUG, output=StreamOutput(stream), monotonic=lambda: clock[0])
    for _ in range(1000):
        log.limited("bad mac1", "x")
    log.limited("other", "y")
    assert stream.getvalue().count(" x\n") == LIMIT_BURST
    assert stream.getvalue().count(" y\n") == 1
    clock[0] += LIMIT_SECONDS
    log.limited("bad mac1", "x")
    assert f"bad mac1: {1000 - LIMIT_BURST} more" in stream.getvalue()
    assert stream.getvalue().count(" x\n") == LIMIT_BURST + 1


def test_a_closed_stream_is_survived() -> None:
    stream = io.StringIO()
    stream.close()
    Log("wg7", Level.ERROR, output=StreamOutput(stream)).error("nobody reads this")


def test_peer_name_shows_the_ends_of_the_key() -> None:
    # base64 of 32 zero bytes is 43 A and one =
    assert peer_name(bytes(32)) == "peer(AAAA…AAAA)"
    assert peer_name(bytes(range(32))) == "peer(AAEC…dHh8)"


def test_json_form() -> None:
    stream = io.StringIO()
    before = datetime.datetime.now().astimezone()
    Log("wg7", Level.INFO, form=Form.JSON, output=StreamOutput(stream)).warning('a "quoted"\nläng message\x00')
    text = stream.getvalue()
    assert text.endswith("}\n")
    assert text.count("\n") == 1
    line = json.loads(text)
    at = datetime.datetime.fromisoformat(line.pop("time"))
    assert line == {"level": "warning", "interface": "wg7", "message": 'a "quoted"\nläng message\x00'}
    assert abs(at - before) < datetime.timedelta(seconds=10)


@pytest.mark.parametrize(
    ("word", "form"), [("", Form.TEXT), ("text", Form.TEXT), ("json", Form.JSON), ("JSON", Form.JSON)]
)
def test_form_words(word: str, form: Form) -> None:
    assert parse_form(word) is form


def test_an_unknown_form_is_named() -> None:
    with pytest.raises(ConfigError, match="PYWG_LOG_FORMAT='xml'"):
        parse_form("xml")


def test_the_level_can_be_changed() -> None:
    stream = io.StringIO()
    log = Log("wg7", Level.ERROR, output=StreamOutput(stream))
    log.debug("before")
    log.level = Level.DEBUG
    log.debug("between")
    log.limited("kind", "limited")
    log.level = Level.SILENT
    log.error("after")
    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["between", "limited"]
