"""Names of interfaces and peers, which wg-quick's files have in comments only.

`# Name = Berlin` or `# friendly_name = Berlin` anywhere in a section names it. Otherwise its name is the comment behind
[Peer], in the line directly above or in the first one below it, or the one behind the public key. A setting that is
commented out, and anything that may hold a key, is no name.
"""

import re
from typing import Final

from pywg.config.quick_extensions import is_extension
from pywg.config.quick_lines import SPACE, known, section_of

MAX_NAME: Final = 64
"""Characters; what is longer is cut."""
_GIVEN: Final = re.compile(r"(?:name|friendly_name)\s*=(.*)", re.I | re.S)
_GENERATED: Final = re.compile(r"(?:begin_peer|begin|client)\b:?\s*(?=\S)", re.I)
"""What generators of files write before a peer's name."""
_KEY_LIKE: Final = re.compile(r"[A-Za-z0-9+/=_-]{32,}")
_PART: Final = r"(?:[A-Z]?[a-z]++|[A-Z]*+)[0-9]*+"
_WORDS: Final = re.compile(rf"{_PART}(?:[_-]{_PART})*+")
"""Words with hyphens, such as gateway-of-the-headquarters-in-paris-2. In a key, capitals stand behind small letters,
and letters behind digits: of 10^12 keys, in base64 or in hexadecimal, not one looks so."""


def clean(text: str) -> str:
    """A name as it can be shown: on one line, printable, not too long; "" for what may hold a key."""
    name = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if not all(_WORDS.fullmatch(found) for found in _KEY_LIKE.findall(name)):
        return ""
    return name[:MAX_NAME].rstrip()


def given(comment: str) -> str | None:
    """What a comment, from its "#" on, gives as the name: `# Name = ...`. None when it gives none."""
    found = _GIVEN.fullmatch(comment.lstrip("#").strip())
    return clean(found[1]) if found else None


def title(comment: str) -> str:
    """The name that a comment may be, from its "#" on; "" when it is none."""
    if is_extension(comment):
        return ""
    text = comment.strip().strip("#").strip()
    name, equals, _ = text.partition("=")
    if section_of(text) or (equals and known(name)) or text.startswith("["):
        return ""
    return clean(_GENERATED.sub("", text, count=1))


class Naming:
    """Finds the names while a file's lines go by; `begin`, `line`, and at the end `ended`."""

    def __init__(self) -> None:
        self.interface = ""
        self.peers: list[str] = []
        self._above: list[str] = []
        self._given = ""
        self._title = ""
        self._settings = False
        self._peer: bool | None = None

    def begin(self, *, peer: bool, comment: str) -> None:
        """A section begins; `comment` is what its line has behind it, from "#" on."""
        above, self._above = self._above, []
        self._close()
        self._peer, self._settings = peer, False
        self._given = next((name for one in above if (name := given(one))), "")
        self._title = given(comment) or title(comment) or (title(above[-1]) if above else "")

    def line(self, body: str, comment: str, *, key: bool = False) -> None:
        """Any other line: what it has before and from "#" on. `key`: it gives the public key."""
        if not body.strip(SPACE):
            if comment:
                self._above.append(comment)
            else:
                self._take_comments()
            return
        self._take_comments()
        self._settings = True
        if comment:
            self._given = self._given or given(comment) or ""
            if key and not self._title:
                self._title = title(comment)

    def ended(self) -> None:
        """No line is left."""
        self._close()

    def _take_comments(self) -> None:
        """Comments that stand above no section belong to the one that they are in."""
        for comment in self._above:
            self._given = self._given or given(comment) or ""
        if self._above and not self._settings and not self._title and given(self._above[0]) is None:
            self._title = title(self._above[0])
        self._above.clear()

    def _close(self) -> None:
        self._take_comments()
        name = self._given or self._title
        if self._peer:
            self.peers.append(name)
        elif self._peer is False:
            self.interface = self.interface or name
        self._given = self._title = ""
