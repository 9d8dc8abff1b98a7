"""What another process has in its memory: a search of all that it can write to, for copies of a secret.

Arenas of `pywg.dataplane.crypto.secret` are left out: they are there to hold secrets, and known by MADV_WIPEONFORK.
"""

import base64
from collections.abc import Iterator
from pathlib import Path


def _searched(pid: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the writable mappings but the arenas."""
    mapping: tuple[int, int] | None = None
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            start, _, end = first.partition("-")
            mapping = (int(start, 16), int(end, 16)) if rest[0].startswith("rw") else None
        elif first == "VmFlags:" and mapping is not None and "wf" not in rest:
            yield mapping


def copies(pid: int, *needles: bytes) -> list[int]:
    """How often each of the needles is in the memory of process `pid`, which is a child of this one, or the like."""
    found = [0] * len(needles)
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for start, end in _searched(pid):
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except OSError:  # a mapping that went away, or can't be read, as [vvar]
                continue
            for number, needle in enumerate(needles):
                found[number] += data.count(needle)
    return found


def spellings(key: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """A key raw, in hexadecimal of both cases, and in base64 without its padding."""
    return key, key.hex().encode(), key.hex().upper().encode(), base64.b64encode(key).rstrip(b"=")
