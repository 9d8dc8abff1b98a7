"""The lines of wg-quick's files: what a name is, which was meant by a misspelt one, and a line as an error may show it.

Space is what wg(8) takes for space, and letters are ASCII's: what else Unicode calls so is a character like others.
What may be a key is never shown: neither the value of a setting that is a secret, nor anything long enough, nor the
text of a line whose name is not understood.
"""

import re
from collections.abc import Iterable
from typing import Final

from pywg.errors import ConfigError

SPACE: Final = " \t\n\v\f\r"
_WITHOUT_SPACE: Final = {ord(character): None for character in SPACE}
_WORDS: Final = re.compile(r"[^ \t\n\v\f\r,]+")

WG_NAMES: Final = {
    "interface": ("PrivateKey", "ListenPort", "FwMark"),
    "peer": ("PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive"),
}
"""The settings that wg(8) reads, by section."""
HOOKS: Final = ("PreUp", "PostUp", "PreDown", "PostDown")
QUICK_NAMES: Final = ("Address", "DNS", "MTU", "Table", *HOOKS, "SaveConfig")
"""The settings of [Interface] that wg-quick(8) keeps for itself."""
_HIDDEN: Final = ("PrivateKey", "PresharedKey", "PublicKey", *HOOKS)
"""A private key is easily put where a public one belongs, and a hook has whatever is a secret of the operator's."""

_NAMES: Final = {name.lower(): name for name in (*WG_NAMES["interface"], *WG_NAMES["peer"], *QUICK_NAMES)}
_OTHER_WORDS: Final = {
    "keepalive": "PersistentKeepalive",
    "psk": "PresharedKey",
    "secretkey": "PrivateKey",
    "port": "ListenPort",
    "ip": "Address",
    "nameserver": "DNS",
    "nameservers": "DNS",
    "routes": "AllowedIPs",
    "mark": "FwMark",
}
_SECTIONS: Final = ("[interface]", "[peer]")
_LIKE: Final = 0.7
_LONGEST_NAME: Final = 24
"""A longer word is no misspelt name, and may be a key."""
_KEY_LIKE: Final = re.compile(r"[A-Za-z0-9+/=]{16}")
_SHOWN: Final = 72
"""Columns of a line that are shown at most."""


class PlacedError(ConfigError):
    """A ConfigError with its place: an offset in a setting's value or, without `in_value`, in the line."""

    def __init__(self, message: str, offset: int, *, in_value: bool = True) -> None:
        super().__init__(message)
        self.offset = offset
        self.in_value = in_value


def squeeze(text: str) -> str:
    """Without any space, as wg reads its own lines."""
    return text.translate(_WITHOUT_SPACE)


def folded(text: str) -> str:
    """Without space, in lower case: what wg compares names by."""
    squeezed = squeeze(text)
    return squeezed.lower() if squeezed.isascii() else squeezed


def words(text: str) -> list[tuple[str, int]]:
    """A list as wg-quick reads it, commas being spaces: the words, each with its offset."""
    return [(found.group(), found.start()) for found in _WORDS.finditer(text)]


def body_of(line: str) -> str:
    """A line without its comment and its end."""
    return line.partition("#")[0].rstrip(SPACE)


def name_of(body: str) -> str:
    """The setting that a line gives, as its manual spells it; "" for what is no line of a known setting."""
    name, equals, _ = body.partition("=")
    return _NAMES.get(folded(name), "") if equals else ""


def section_of(body: str) -> str:
    """ "interface" or "peer" when the line begins that section, else ""."""
    word = folded(body)
    return word[1:-1] if word in _SECTIONS else ""


def known(word: str) -> str:
    """A setting by its name in any case, or ""."""
    return _NAMES.get(folded(word), "")


def meant(word: str) -> str:
    """The setting that a word is, or is nearly, or ""."""
    name = folded(word)
    if not 0 < len(name) <= _LONGEST_NAME:
        return ""
    if found := _NAMES.get(name) or _OTHER_WORDS.get(name.replace("-", "").replace("_", "")):
        return found
    return _NAMES[near[0]] if (near := _close(name, tuple(_NAMES))) else ""


def meant_section(body: str) -> str:
    """The section that a line is meant to begin, or ""."""
    name = folded(body)
    if not 0 < len(name) <= _LONGEST_NAME:
        return ""
    return {"[interface]": "[Interface]", "[peer]": "[Peer]"}[near[0]] if (near := _close(name, _SECTIONS)) else ""


def _close(name: str, names: tuple[str, ...]) -> list[str]:
    from difflib import get_close_matches  # noqa: PLC0415  - only a fault needs it

    return get_close_matches(name, names, n=1, cutoff=_LIKE)


def refuse_characters(body: str) -> None:
    """Raises PlacedError for a character that no reader takes wherever it stands."""
    if "\0" in body:
        hint = ": is it UTF-16? It has to be UTF-8" if body.count("\0") * 3 > len(body) else ""
        raise PlacedError(f"a NUL byte{hint}", body.index("\0"), in_value=False)
    if body.startswith(("\udcff\udcfe", "\udcfe\udcff")):
        raise PlacedError("this file is UTF-16: it has to be UTF-8", 0, in_value=False)


def misplaced(body: str, here: Iterable[str]) -> ConfigError:
    """The error about a line that is none of the settings that may stand `here`, by what it may have meant."""
    name, equals, _ = body.partition("=")
    first = _first_word(body)
    names = list(here)
    if "\r" in body.strip(SPACE):
        offset = body.index("\r", len(body) - len(body.lstrip(SPACE)))
        return PlacedError("a carriage return alone ends no line: use a line feed", offset, in_value=False)
    if body.lstrip(SPACE).startswith("["):
        section = meant_section(body)
        return ConfigError(f"expected [Interface] or [Peer]{f'; did you mean {section}?' if section else ''}")
    if meant(first) and (not meant(name) or (known(first) and folded(first) != folded(name))):
        return PlacedError(f"expected '=' after {meant(first)}", body.index(first) + len(first), in_value=False)
    if not equals:
        return ConfigError("expected [Interface], [Peer] or Name = value")
    if not names:
        return ConfigError("expected [Interface] or [Peer] before this")
    known_name = meant(name)
    if known_name and known_name not in names:
        return ConfigError(f"{known_name} belongs in {'[Peer]' if known_name in WG_NAMES['peer'] else '[Interface]'}")
    if known_name:
        return ConfigError(f"unknown name; did you mean {known_name}?")
    return ConfigError(f"unknown name; expected one of {', '.join(names)}")


def odd_character(value: str) -> PlacedError | None:
    """The first character of a value that is not ASCII: it may look like space or a quotation mark, or like nothing."""
    for offset, character in enumerate(value):
        if not character.isascii():
            code = ord(character)
            what = f"byte {code - 0xDC00:#x} is" if 0xDC80 <= code <= 0xDCFF else f"U+{code:04X} is"
            return PlacedError(f"{what} no ASCII character", offset)
    return None


def excerpt(body: str, column: int) -> str:
    """The line with stars for what may be a key, and a caret below its 1-based column."""
    hidden = _masked(body)
    first = max(0, column - 1 - _SHOWN // 2) if len(hidden) > _SHOWN else 0
    shown = hidden[first : first + _SHOWN]
    before = "".join("\t" if character == "\t" else " " for character in shown[: column - 1 - first])
    text = "".join(c if c.isprintable() or c == "\t" else "?" for c in shown)
    return f"    {text}\n    {before}^"


def _masked(body: str) -> str:
    name, equals, value = body.partition("=")
    known_name = meant(name)
    if not known_name:  # a line without "=", or with none after its name
        name = body[: len(body) - len(body.lstrip(SPACE))] + _first_word(body)
        known_name, equals, value = meant(name), "", body[len(name) :]
    if known_name and known_name not in _HIDDEN and not _KEY_LIKE.search(squeeze(value)):
        return body
    if known_name:
        return f"{name}{equals}{_stars(value)}"
    return body if meant_section(body) else _stars(body)


def _first_word(body: str) -> str:
    return re.split(f"[{SPACE}]", body.lstrip(SPACE), maxsplit=1)[0]


def _stars(text: str) -> str:
    return "".join(character if character in SPACE else "*" for character in text)
