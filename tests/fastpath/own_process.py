"""What /proc says of this process: the planes' threads, and the open descriptors."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_TASKS = Path("/proc/self/task")
_FLAGS, _PF_EXITING = 6, 0x4
"""The field of stat, among those behind the name, and the bit that a thread has once it has begun to end."""


def thread_names() -> list[str]:
    """The planes' threads. One that has been joined is there for a moment longer, and is none of them."""
    names = []
    for text in _texts("stat"):
        before, _, fields = text.rpartition(")")
        if not int(fields.split()[_FLAGS]) & _PF_EXITING:
            names.append(before.partition("(")[2])
    return sorted(name for name in names if name.startswith("pywg"))


def thread_status() -> dict[str, dict[str, str]]:
    """Of every thread by its name; of several with one name, any."""
    each = [dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line) for text in _texts("status")]
    return {fields["Name"]: fields for fields in each}


def _texts(name: str) -> Iterator[str]:
    """A file of each thread; a thread that has been joined may end while this looks."""
    for path in _TASKS.glob(f"*/{name}"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield path.read_text()


def descriptors() -> int:
    """How many are open, the one for looking included."""
    return len(os.listdir("/proc/self/fd"))
