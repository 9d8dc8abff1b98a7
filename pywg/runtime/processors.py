"""How many processors the daemon may use, and how many threads move packets when nobody says."""

import os

READING_THREADS = 2
"""The data plane's threads besides its helpers: one reads the TUN, one the sockets."""
_FEW_PROCESSORS = 3
_MOST_BY_ITSELF = 10


def auto_threads() -> int:
    """The threads that "auto" stands for, the two that read and their helpers."""
    return threads_for(usable_processors())


def threads_for(processors: int) -> int:
    """Two threads are best where there are few processors: whoever else there is needs one as well."""
    return READING_THREADS if processors <= _FEW_PROCESSORS else min(processors, _MOST_BY_ITSELF)


def usable_processors() -> int:
    """Those of our affinity."""
    return len(os.sched_getaffinity(0))
