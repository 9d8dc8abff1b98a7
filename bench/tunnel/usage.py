"""What a running daemon costs, read from /proc: processor time, memory, descriptors, threads."""

import os
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_RESET_PEAK = "5"  # proc(5), clear_refs: sets VmHWM to what is resident now


class Usage(NamedTuple):
    """One look at a process. cpu_s counts user and system time of all its threads since its start."""

    cpu_s: float
    peak_rss_bytes: int
    fds: int
    threads: int


def read(pid: int) -> Usage:
    """Looks at process `pid`; peak_rss_bytes is since its start or the last reset_peak. OSError when it is gone."""
    proc = Path("/proc", str(pid))
    after_name = proc.joinpath("stat").read_text().rpartition(")")[2].split()  # the name may hold blanks and brackets
    status = dict(line.split(":", 1) for line in proc.joinpath("status").read_text().splitlines())
    return Usage(
        cpu_s=(int(after_name[11]) + int(after_name[12])) / _TICKS_PER_S,
        peak_rss_bytes=int(status["VmHWM"].split()[0]) * 1024,
        fds=len(list(proc.joinpath("fd").iterdir())),
        threads=int(status["Threads"]),
    )


def cpu_s(pid: int) -> float:
    """Processor seconds of the threads that process `pid` has now, finer than read()'s ticks. OSError: it is gone."""
    tasks = Path("/proc", str(pid), "task").iterdir()
    return sum(int(task.joinpath("schedstat").read_text().split()[0]) for task in tasks) / 1e9


def reset_peak(pid: int) -> None:
    """Makes the peak of resident memory start again from now."""
    Path("/proc", str(pid), "clear_refs").write_text(_RESET_PEAK)
