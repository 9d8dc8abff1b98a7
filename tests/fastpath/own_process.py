"""What /proc says of this process: the planes' threads, and the open descriptors."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_TASKS = Path("/proc/self/task")


def thread_names() -> list[str]:
    """The planes' threads."""
    names = sorted(text.strip() for text in _texts("comm"))
    return [name for name in names if name.startswith("pywg")]


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
