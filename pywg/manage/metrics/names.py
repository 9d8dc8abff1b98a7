"""The operator's names of peers, for a process that may not read the files that have them.

Those files have private keys. So root reads them in a process of its own, which hands over names and public keys alone:
into the exporter at its start, or into a file that the exporter reads again whenever it changes.
"""

import contextlib
import json
import os
from pathlib import Path

from pywg.config.keys import format_key_base64, parse_key_base64
from pywg.errors import ConfigError
from pywg.manage import names
from pywg.manage.companion.apart import apart
from pywg.manage.units import printable
from pywg.manage.whole_file import replacing

MOST_NAMES = 1 << 25
"""Bytes of a file of names: a quarter of a million peers take half of it. More is an error."""
MOST_NAME = 64
"""Characters of a name."""

Known = dict[str, dict[bytes, str]]


def read_apart(interfaces: list[str]) -> Known:
    """Those of these interfaces and of all files of wg-quick, as far as this user may read them. Raises PywgError."""
    return _parsed(apart(lambda: _configured(interfaces)))


def write(path: Path, interfaces: list[str]) -> int:
    """Writes a file of names, as a whole, and returns how many are in it. Raises OSError, PywgError.

    Its folder may be another user's: what is in the way there, a link for instance, is replaced and never followed.
    """
    told = apart(lambda: _configured(interfaces))
    with replacing(path) as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(f"{json.dumps(told, indent=1)}\n".encode())
    return sum(map(len, told.values()))


class NamesFile:
    """A file of names, and what was in it last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._known: Known = {}

    def read(self) -> Known:
        """What is in it; none while it can't be read. Raises ConfigError, once for each change that makes it so."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            seen = 0, error.errno or 0, 0
            if seen != self._seen:
                self._seen, self._known = seen, {}
                raise ConfigError(f"without names: {self._path}: {error.strerror}") from None
            return self._known
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            seen = status.st_ino, status.st_mtime_ns, status.st_size
            if seen != self._seen:
                self._seen = seen
                self._known = _loaded(self._path, file.read(MOST_NAMES + 1))
        return self._known


def _loaded(path: Path, content: bytes) -> Known:
    if len(content) > MOST_NAMES:
        raise ConfigError(f"{path} is no file of names: it has more than {MOST_NAMES >> 20} MiB")
    try:
        return _parsed(json.loads(content))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ConfigError(f"{path} is no file of names, as --write-names makes one: {error}") from None


def _parsed(told: dict[str, dict[str, str]]) -> Known:
    return {
        interface: {parse_key_base64(key, "a peer"): printable(str(name))[:MOST_NAME] for key, name in of_it.items()}
        for interface, of_it in told.items()
    }


def _configured(interfaces: list[str]) -> dict[str, dict[str, str]]:
    files: list[str] = []
    with contextlib.suppress(OSError):
        files = os.listdir(names.CONFIGURATIONS)
    wanted = sorted({*interfaces, *(file.removesuffix(".conf") for file in files if file.endswith(".conf"))})
    found = {one: {format_key_base64(key): name for key, name in names.names_of(one).items()} for one in wanted}
    return {one: known for one, known in found.items() if known}
