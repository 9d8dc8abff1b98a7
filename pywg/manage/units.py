"""Numbers and times as people read them, and texts as a terminal shows them."""

import unicodedata

_STEPS = "KMGTPE"
_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400
_AGES = ((_YEAR, "year"), (_DAY, "day"), (_HOUR, "h"), (_MINUTE, "min"), (1, "s"))
_WIDE = frozenset("WF")


def size(count: float) -> str:
    """Bytes, by powers of 1024: "1.24 GiB"."""
    return _scaled(count, 1024, "B", "iB")


def short_size(count: float) -> str:
    """Bytes in at most five characters, by powers of 1024: "1.24G"."""
    return _short(count, 1024)


def rate(bytes_a_second: float) -> str:
    """Bits a second, by powers of 1000: "1.24 Gb/s"."""
    return _scaled(8 * bytes_a_second, 1000, "b/s", "b/s")


def short_rate(bytes_a_second: float) -> str:
    """Bits a second in at most five characters, by powers of 1000: "1.24G"."""
    return _short(8 * bytes_a_second, 1000)


def age(seconds: float) -> str:
    """A time in its largest unit: "now", "12 s", "3 min", "2 h", "5 days"."""
    whole = int(seconds)
    for length, unit in _AGES:
        if whole >= length:
            count = whole // length
            plural = "s" if count > 1 and length >= _DAY else ""
            return f"{count} {unit}{plural}"
    return "now"


def span(seconds: float) -> str:
    """A time in its two largest units: "3 days 4 h", "1 min 3 s", "0 s"."""
    left = max(int(seconds), 0)
    words: list[str] = []
    for length, _ in _AGES:
        if left >= length and len(words) < 2:
            words.append(age(left // length * length))
            left %= length
        elif words:
            break
    return " ".join(words) or "0 s"


def plural(count: int, word: str) -> str:
    """The count and the word: "1 peer", "2 peers"."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def printable(text: str) -> str:
    """A text of a file or of the network, on one line and without what moves a cursor or turns the writing around."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def cells(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in _WIDE else 1 for one in text
    )


def fitted(text: str, width: int) -> str:
    """At most `width` columns of a text, its end an ellipsis where it was cut."""
    if cells(text) <= width:
        return text
    kept, used = "", 0
    for one in text:
        used += cells(one)
        if used > width - 1:
            break
        kept += one
    return f"{kept}…"[: max(width, 0)]


def padded(text: str, width: int, *, right: bool = False) -> str:
    """A text of at most `width` columns, filled up with spaces; `right` puts them before it."""
    space = " " * max(width - cells(text), 0)
    return f"{space}{text}" if right else f"{text}{space}"


def _scaled(count: float, step: int, unit: str, units: str) -> str:
    if count < step:
        return f"{int(count)} {unit}"
    for prefix in _STEPS:
        count /= step
        if round(count, 2) < step or prefix == _STEPS[-1]:
            return f"{_digits(count)} {prefix if step == 1024 else prefix.replace('K', 'k')}{units}"
    raise AssertionError


def _short(count: float, step: int) -> str:
    if count < step:
        return f"{int(count)}"
    for prefix in _STEPS:
        count /= step
        if round(count) < step or prefix == _STEPS[-1]:
            return f"{_digits(count)}{prefix}"
    raise AssertionError


def _digits(count: float) -> str:
    """Three of them where there is a fraction."""
    return f"{count:.2f}" if count < 9.995 else f"{count:.1f}" if count < 99.95 else f"{count:.0f}"
