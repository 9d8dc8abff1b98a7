"""Runs the tools the lab is made of (ip, wg, ethtool, ...), and repeats what they said when they fail."""

import contextlib
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

_GROUP = Path("/proc/self/autogroup")
"""How the processor is shared among sessions, and by which nice value (sched(7))."""


class CommandError(RuntimeError):
    """A tool failed; the message holds its command line, its exit status and what it printed."""


def run(
    *argv: str,
    stdin: str | None = None,
    timeout: float = 30.0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Runs one command to its end and returns its standard output.

    The command gets a session of its own: a Ctrl-C at the terminal is for us alone, so that the commands which clean up
    run to their end. Raises CommandError for a status other than 0, for a missing tool, and after `timeout` seconds.
    """
    try:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=env,
            cwd=cwd,
        )
    except FileNotFoundError as error:
        raise CommandError(f"{argv[0]} is not installed") from error
    with child:
        try:
            keep_priority(child.pid)
            output, errors = child.communicate(stdin or "", timeout=timeout)
        except subprocess.TimeoutExpired as error:
            child.kill()
            raise CommandError(f"no end after {timeout:g} s: {shlex.join(argv)}") from error
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        said = (errors.strip() or output.strip())[-2000:]
        raise CommandError(f"status {child.returncode}: {shlex.join(argv)}\n{said}")
    return output


@contextlib.contextmanager
def prioritised(priority: int) -> Iterator[None]:
    """In the body, this process and what it starts have this nice value, and so has their session; not without root."""
    try:
        before = os.getpriority(os.PRIO_PROCESS, 0), _group_priority()
        os.setpriority(os.PRIO_PROCESS, 0, priority)
    except PermissionError:
        yield
        return
    try:
        keep_priority(os.getpid())
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before[0])
        if before[1]:
            with contextlib.suppress(OSError):
                _GROUP.write_text(before[1])


def _group_priority() -> str:
    """Of this process's session; "" where sessions have none. In a control group of its own its file is empty."""
    return _GROUP.read_text().rpartition(" ")[2].strip() if _GROUP.exists() else ""


def keep_priority(pid: int) -> None:
    """Gives a process in a session of its own our priority, if we have one.

    The kernel shares processors out among sessions first (autogroups, sched(7)), so that `nice` before a bench would
    count for the bench's own process alone.
    """
    if priority := os.getpriority(os.PRIO_PROCESS, 0):
        with contextlib.suppress(OSError):  # a kernel without autogroups, or not root
            Path("/proc", str(pid), "autogroup").write_text(str(priority))
