"""What /proc says of a daemon to everyone: its memory and its threads' processor time."""

import contextlib
import os

_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME = 11, 12  # in proc_pid_stat(5) after the name, from 0


def resident_bytes(pid: int) -> int:
    """The memory that a process has in RAM; 0 when that isn't told."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
    return 0


def threads(pid: int) -> dict[int, tuple[str, float]]:
    """(name, seconds of processor time) of each thread, by its number; empty when that isn't told."""
    found: dict[int, tuple[str, float]] = {}
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError, ValueError, IndexError):  # it has just ended
                with open(f"/proc/{pid}/task/{thread}/stat", encoding="utf-8", errors="replace") as stat:
                    before, _, after = stat.read().rpartition(")")
                fields = after.split()
                seconds = (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS
                found[int(thread)] = (before.partition("(")[2], seconds)
    return found
