"""The number of processors that the daemon may use, and of threads that move packets by default."""

import os
import re
from collections.abc import Iterator
from typing import TypeAlias

READING_THREADS = 2
"""The threads of a shard besides its helpers: one reads the TUN, one the sockets."""
SHARDS = (1, 2, 4, 8)
"""How many shards an interface may have, and so queues and pairs of sockets; one byte of an index tells them apart."""
_FEW_PROCESSORS = 3
_MOST_BY_ITSELF = 10
_LEAST_HELPERS_FOR_TURNS = 5
_CGROUP = "/proc/self/cgroup"
_CGROUPS = "/sys/fs/cgroup"

File: TypeAlias = str | os.PathLike[str]


def auto_threads(shards: int = 1) -> int:
    """The threads that "auto" stands for: of all shards, those that read and their helpers."""
    return threads_for(usable_processors(), shards)


def threads_for(processors: int, shards: int = 1) -> int:
    """The threads for so many processors. Two are best on few, where other programs need one as well; a shard has at
    least two."""
    some = READING_THREADS if processors <= _FEW_PROCESSORS else min(processors, _MOST_BY_ITSELF * shards)
    return max(some, READING_THREADS * shards)


def helpers_for(threads: int, shards: int) -> int:
    """The helpers of each shard where all have so many threads together. Those that don't go round are left out."""
    return max(threads // shards - READING_THREADS, 0)


def turns_for(threads: int, processors: int) -> bool:
    """Whether each of so many threads is to send what it has sealed, and to wait for its turn.

    A thread that waits keeps its processor: with fewer processors than threads another one needs it.
    """
    return threads >= READING_THREADS + _LEAST_HELPERS_FOR_TURNS and processors >= threads


def usable_processors(cgroup: File = _CGROUP, cgroups: File = _CGROUPS) -> int:
    """Processors of this process' affinity, or fewer whole ones where a cgroup has a quota; at least 1."""
    try:
        processors = len(os.sched_getaffinity(0))
    except OSError:
        processors = os.cpu_count() or 1
    return max(1, min([processors, *map(int, _quotas(cgroup, cgroups))]))


def quota(cpu_max: str) -> float | None:
    """Processors that a cgroup's cpu.max ("QUOTA PERIOD" in microseconds) allows; None for "max" or nothing."""
    fields = cpu_max.split()
    if len(fields) != 2 or not all(re.fullmatch("[0-9]{1,18}", field) for field in fields) or int(fields[1]) == 0:
        return None
    return int(fields[0]) / int(fields[1])


def _quotas(cgroup: File, cgroups: File) -> Iterator[float]:
    """The quotas of our cgroup and of those around it: cgroups(7), version 2 where it is usually mounted; else none."""
    path = next((line[3:] for line in _text(cgroup).splitlines() if line.startswith("0::/")), None)
    if path is None or ".." in path.split("/"):
        return  # "..": our cgroup lies outside of the root of the cgroup namespace, and the mount doesn't show it
    names = [name for name in path.split("/") if name]
    for depth in range(len(names), -1, -1):
        if (found := quota(_text(os.path.join(cgroups, *names[:depth], "cpu.max")))) is not None:
            yield found


def _text(path: File) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        return ""
