"""Log lines: wireguard-go's form, its levels and two more, and a limit on what a stranger can cause."""

import io
import re

import pytest

from pywg.errors import ConfigError
from pywg.runtime.log import LIMIT_BURST, LIMIT_SECONDS, Level, Log, parse_level, peer_name


def lines_at(level: Level) -> list[str]:
    stream = io.StringIO()
    log = Log("wg7", level, stream=stream)
    log.error("e")
    log.warning("w")
    log.info("i")
    log.debug("d")
    return stream.getvalue().splitlines()


@pytest.mark.parametrize(
    ("word", "count"),
    [("silent", 0), ("error", 1), ("", 1), ("warning", 2), ("info", 3), ("debug", 4), ("verbose", 4), ("DEBUG", 4)],
)
def test_level_words(word: str, count: int):
    assert len(lines_at(parse_level(word))) == count


def test_an_unknown_level_is_named():
    with pytest.raises(ConfigError, match="LOG_LEVEL='loud'"):
        parse_level("loud")


def test_form_of_a_line():
    assert re.fullmatch(r"ERROR: \(wg7\) \d{4}/\d\d/\d\d \d\d:\d\d:\d\d e", lines_at(Level.ERROR)[0])


def test_limited_lines_stop_and_are_counted():
    stream, clock = io.StringIO(), [100.0]
    log = Log("wg7", Level.DEBUG, stream=stream, monotonic=lambda: clock[0])
    for _ in range(1000):
        log.limited("bad mac1", "x")
    log.limited("other", "y")
    assert stream.getvalue().count(" x\n") == LIMIT_BURST
    assert stream.getvalue().count(" y\n") == 1
    clock[0] += LIMIT_SECONDS
    log.limited("bad mac1", "x")
    assert f"bad mac1: {1000 - LIMIT_BURST} more" in stream.getvalue()
    assert stream.getvalue().count(" x\n") == LIMIT_BURST + 1


def test_a_closed_stream_is_survived():
    stream = io.StringIO()
    stream.close()
    Log("wg7", Level.ERROR, stream=stream).error("nobody reads this")


def test_peer_name_shows_the_ends_of_the_key():
    # base64 of 32 zero bytes is 43 A and one =
    assert peer_name(bytes(32)) == "peer(AAAA…AAAA)"
    assert peer_name(bytes(range(32))) == "peer(AAEC…dHh8)"
