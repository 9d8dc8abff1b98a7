"""What /proc says of this process: the planes' threads, and the open descriptors."""

import os
from pathlib import Path

_TASKS = Path("/proc/self/task")


def thread_names() -> list[str]:
    """The planes' threads."""
    names = sorted(path.read_text().strip() for path in _TASKS.glob("*/comm"))
    return [name for name in names if name.startswith("pywg")]


def thread_status() -> dict[str, dict[str, str]]:
    """Of every thread by its name; of several with one name, any."""
    each = [
        dict(line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line)
        for path in _TASKS.glob("*/status")
    ]
    return {fields["Name"]: fields for fields in each}


def descriptors() -> int:
    """How many are open, the one for looking included."""
    return len(os.listdir("/proc/self/fd"))
