"""How many processors the daemon may use, and how many threads move packets when nobody says."""

import os
from collections.abc import Iterator
from pathlib import Path

READING_THREADS = 2
"""The data plane's threads besides its helpers: one reads the TUN, one the sockets."""
_FEW_PROCESSORS = 3
_MOST_BY_ITSELF = 10
_CGROUP = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def auto_threads() -> int:
    """The threads that "auto" stands for, the two that read and their helpers."""
    return threads_for(usable_processors())


def threads_for(processors: int) -> int:
    """Two threads are best where there are few processors: whoever else there is needs one as well."""
    return READING_THREADS if processors <= _FEW_PROCESSORS else min(processors, _MOST_BY_ITSELF)


def usable_processors(cgroup: Path = _CGROUP, cgroups: Path = _CGROUPS) -> int:
    """Those of our affinity, or fewer whole ones where a cgroup has a quota; at least 1."""
    try:
        processors = len(os.sched_getaffinity(0))
    except OSError:
        processors = os.cpu_count() or 1
    return max(1, min([processors, *map(int, _quotas(cgroup, cgroups))]))


def quota(cpu_max: str) -> float | None:
    """Processors that a cgroup's cpu.max ("QUOTA PERIOD" in microseconds) allows; None: it says "max", or nothing."""
    fields = cpu_max.split()
    if len(fields) != 2 or not all(field.isascii() and field.isdigit() for field in fields) or int(fields[1]) == 0:
        return None
    return int(fields[0]) / int(fields[1])


def _quotas(cgroup: Path, cgroups: Path) -> Iterator[float]:
    """Of our cgroup and of those around it. cgroups(7), version 2 where it is usually mounted; without it, none."""
    path = next((line[3:] for line in _text(cgroup).splitlines() if line.startswith("0::/")), None)
    if path is None or ".." in path.split("/"):
        return  # the latter: we are outside of the cgroup namespace's root, which the mount shows nothing of
    ours = cgroups / path.lstrip("/")
    for each in (ours, *ours.parents):
        if each == cgroups.parent:
            break
        if (found := quota(_text(each / "cpu.max"))) is not None:
            yield found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
