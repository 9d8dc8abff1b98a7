"""Numbers, times and texts as people read them."""

import pytest

from pywg.manage.units import age, cells, fitted, padded, plural, printable, rate, short_rate, short_size, size, span


@pytest.mark.parametrize(
    ("count", "text", "short"),
    [
        (0, "0 B", "0"),
        (1023, "1023 B", "1023"),
        (1024, "1.00 KiB", "1.00K"),
        (10_230, "9.99 KiB", "9.99K"),
        (10_236, "10.0 KiB", "10.0K"),
        (1 << 20, "1.00 MiB", "1.00M"),
        ((1 << 20) - 1, "1.00 MiB", "1.00M"),
        (1 << 44, "16.0 TiB", "16.0T"),
        (1 << 64, "16.0 EiB", "16.0E"),
    ],
)
def test_sizes(count: int, text: str, short: str) -> None:
    assert (size(count), short_size(count)) == (text, short)


@pytest.mark.parametrize(
    ("count", "text", "short"),
    [(0, "0 b/s", "0"), (100, "800 b/s", "800"), (125, "1.00 kb/s", "1.00K"), (155e6, "1.24 Gb/s", "1.24G")],
)
def test_rates_are_in_bits(count: float, text: str, short: str) -> None:
    assert (rate(count), short_rate(count)) == (text, short)


def test_short_numbers_are_never_wider_than_their_column() -> None:
    numbers = [mantissa * 10**exponent // 100 for exponent in range(20) for mantissa in range(90, 1100, 7)]
    assert max(len(short_size(number)) for number in numbers) <= 5
    assert max(len(short_rate(number)) for number in numbers) <= 5


@pytest.mark.parametrize(
    ("seconds", "short", "long"),
    [
        (-5, "now", "0 s"),
        (0.9, "now", "0 s"),
        (1, "1 s", "1 s"),
        (63, "1 min", "1 min 3 s"),
        (3600, "1 h", "1 h"),
        (3601, "1 h", "1 h"),
        (86_400, "1 day", "1 day"),
        (2 * 86_400 + 4 * 3600 + 5, "2 days", "2 days 4 h"),
        (800 * 86_400, "2 years", "2 years 70 days"),
    ],
)
def test_times(seconds: float, short: str, long: str) -> None:
    assert (age(seconds), span(seconds)) == (short, long)


def test_texts() -> None:
    assert (plural(1, "peer"), plural(0, "peer")) == ("1 peer", "0 peers")
    assert cells("東京e\N{COMBINING ACUTE ACCENT}") == 5
    assert fitted("berlin", 6) == "berlin"
    assert fitted("berlin", 5) == "berl…"
    assert fitted("東京東京", 5) == "東京…"
    assert padded("東京", 6) == "東京  "
    assert padded("7", 3, right=True) == "  7"


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\nb", "a\u202eb", "a\x9bb", "a\tb", "a\u2028b", "a\x00b"])
def test_what_moves_a_cursor_is_shown_as_such(text: str) -> None:
    shown = printable(text)
    assert (shown[0], shown[-1]) == ("a", "b")
    assert shown.isprintable()
