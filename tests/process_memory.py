"""What another process has in its memory and registers: a search of all of it for copies of secrets.

Arenas of `pywg.dataplane.crypto.secret` are known by MADV_WIPEONFORK, and told apart: they are there to hold secrets.
"""

import base64
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from tests import ptrace
from tests.native.needles import Needles

_PAGE = 4096
_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)")
_PRESENT, _SWAPPED, _OF_FILE = 1 << 63, 1 << 62, 1 << 61
_WORD = 4
_RAW, _TEXT = 8, 16
"""Bytes of a key, and characters of its spellings, that are enough to be found. A freed block of memory keeps the rest
of what was in it, behind the allocator's own pointers."""


@dataclass(frozen=True)
class Part:
    """A stretch of memory, or the registers of a thread."""

    name: str
    start: int
    data: bytes
    arena: bool = False


def image(pid: int) -> list[Part]:
    """All that process `pid` has in memory and registers at one moment, but what is as it is in a file.

    The process is a child of this one, or the like; it is stopped meanwhile.
    """
    with ptrace.all_stopped(pid) as threads:
        names = {tid: Path(f"/proc/{pid}/task/{tid}/comm").read_text().strip() for tid in threads}
        found = [Part(f"registers of {names[tid]}", 0, ptrace.registers(tid)) for tid in threads]
        return found + memory(pid)


def memory(pid: int) -> list[Part]:
    """The memory alone, of a process that is stopped or doesn't mind."""
    found = []
    with (
        Path(f"/proc/{pid}/mem").open("rb", buffering=0) as content,
        Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pages,
    ):
        for name, start, end, writable, arena in _mappings(pid):
            for first, after in _present(pages, start, end, writable=writable):
                content.seek(first)
                try:
                    data = content.read(after - first)
                except OSError:  # a mapping that went away, or can't be read, as [vvar]
                    continue
                found.append(Part(name, first, data, arena))
    return found


def _mappings(pid: int) -> Iterator[tuple[str, int, int, bool, bool]]:
    """(name, start, end, writable, arena)."""
    head: re.Match[str] | None = None
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if found := _HEAD.fullmatch(line):
            head = found
        elif line.startswith("VmFlags:") and head is not None:
            start, end = int(head[1], 16), int(head[2], 16)
            yield head[4] or "anonymous", start, end, "w" in head[3], "wf" in line.split()


def _present(pages: FileIO, start: int, end: int, *, writable: bool) -> Iterator[tuple[int, int]]:
    """The (start, end) of pages that are there; of a mapping that can't be written to, only changed ones."""
    pages.seek(start // _PAGE * 8)
    entries = pages.read((end - start) // _PAGE * 8)
    first: int | None = None
    for number, (entry,) in enumerate(struct.iter_unpack("=Q", entries)):
        here = entry & (_PRESENT | _SWAPPED) and (writable or not entry & _OF_FILE)
        at = start + number * _PAGE
        if here and first is None:
            first = at
        elif not here and first is not None:
            yield first, at
            first = None
    if first is not None:
        yield first, end


def spellings(key: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """A key raw, in hexadecimal of both cases, and in base64 without its padding."""
    return key, key.hex().encode(), key.hex().upper().encode(), base64.b64encode(key).rstrip(b"=")


def _pieces(key: bytes) -> Iterator[tuple[str, bytes]]:
    """(spelling, piece): of any copy of a part, however it is aligned, one of these is in memory.

    A vector that has one word of the key in every lane is a copy too.
    """
    for spelling, text in zip(("raw", "hex", "HEX", "base64"), spellings(key), strict=True):
        length = _RAW if spelling == "raw" else _TEXT
        for at in range(0, len(text) - length + 1, _RAW):
            yield spelling, text[at : at + length]
    for at in range(0, len(key), _WORD):
        yield "word by word", key[at : at + _WORD] * (_RAW // _WORD)


class Search:
    """A search for secrets, by name. Secrets of less than 8 bytes, and bytes that are no random ones, are left out."""

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        self._of = [
            (name, spelling, piece)
            for name, secret in secrets.items()
            for spelling, piece in _pieces(secret)
            if len(set(piece)) > _WORD // 2
        ]
        self._needles = Needles([piece for *_, piece in self._of])

    def find(self, parts: Iterable[Part]) -> dict[str, set[str]]:
        """By the name of each secret of which a piece is there: in which spelling, and where."""
        found: dict[str, set[str]] = {}
        for part in parts:
            for at, number in self._needles.find(part.data):
                name, spelling, _ = self._of[number]
                found.setdefault(name, set()).add(f"{spelling} in {part.name} at {part.start + at:#x}")
        return found


def outside_arenas(parts: Iterable[Part]) -> list[Part]:
    """All parts but the arenas."""
    return [part for part in parts if not part.arena]


def arena_contents(parts: Iterable[Part]) -> list[bytes]:
    """What the slots of the arenas hold, 64 bytes each, but those of zeros."""
    slots = [part.data[at : at + 64] for part in parts if part.arena for at in range(0, len(part.data), 64)]
    return [slot for slot in slots if any(slot)]


def copies(pid: int, *needles: bytes) -> list[int]:
    """How often each of the needles is, whole, outside of the arenas of process `pid`."""
    parts = outside_arenas(memory(pid))
    return [sum(part.data.count(needle) for part in parts) for needle in needles]
