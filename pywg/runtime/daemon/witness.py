"""What the kernel says of the daemon that goes, where its own word is not enough for the one that comes.

That one starts as root and unconfined, with the options that it is told. The daemon that goes is confined, because it
may have been broken into; what it tells must not give it back what it has given up. So the options may name no user, no
group, no capability, no sandbox and no log file but those that the kernel knows it to have: /proc/PID, by the PID that
came with its answer (SCM_CREDENTIALS), which no process can choose. Nor may it make the next one lock more memory than
goes with its own.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pywg.errors import DeviceError
from pywg.runtime.base.failures import failed
from pywg.runtime.base.libc import CAP_NET_ADMIN
from pywg.runtime.daemon.options import Options

_DELETED = " (deleted)"
_ROTATED = r"(?:\.[^/]*|-\d[^/]*)?"
"""What a log file has behind its name once it was rotated: a number, a date, a word after a dot."""


class Witness(NamedTuple):
    """Facts of a process."""

    pid: int
    uid: int
    gid: int
    filters: int
    """seccomp filters on its main thread; of a kernel before 5.9, which doesn't count them, 2 for any"""
    capabilities: int
    """that are permitted, bit n for capability n"""
    memory: int
    """bytes of its own that it has, in memory and in swap"""

    def check(self, several: Sequence[Options], own: "Witness") -> None:
        """Raises DeviceError for options that would give it more than it has. `own`: this process, still unconfined."""
        options = several[0]
        wanted = own.uid if options.user is None else options.user.uid
        if wanted != self.uid:
            raise _lie(f"it would run as user {wanted}, and runs as user {self.uid}: run this as it was started")
        if options.user is not None and options.user.gid != self.gid:
            raise _lie(f"it would run in group {options.user.gid}, and runs in group {self.gid}")
        if not options.drop_net_admin and (own.capabilities & ~self.capabilities) >> CAP_NET_ADMIN & 1:
            raise _lie("it has no CAP_NET_ADMIN, and the next would have it")
        if not options.sandbox and self.filters > own.filters:
            raise _lie("it has a sandbox, and the next would have none")
        if own.uid:
            return  # which may not look further; a file of its log is its user's
        for path in {one.log_file for one in several if one.log_file}:
            if not self._writes(path):
                raise _lie(f"it doesn't write to {path!a}")

    def _writes(self, path: str) -> bool:
        """Whether it has that file open, or one that was that until it was rotated. `path` has no symbolic link."""
        its = re.compile(re.escape(path) + _ROTATED)
        return any(its.fullmatch(one.removesuffix(_DELETED)) for one in self._files())

    def _files(self) -> Iterator[str]:
        """The files that it has open for writing. Raises DeviceError where this process may not know."""
        try:
            numbers = os.listdir(f"/proc/{self.pid}/fd")
        except OSError as error:
            code = error.errno or errno.EIO
            raise DeviceError(code, f"what PID {self.pid} has open can't be seen: {os.strerror(code)}") from error
        for number in numbers:
            with contextlib.suppress(OSError):
                if os.lstat(f"/proc/{self.pid}/fd/{number}").st_mode & 0o200:
                    yield os.readlink(f"/proc/{self.pid}/fd/{number}")


def of_process(pid: int) -> Witness:
    """Raises DeviceError where there is no such process to be seen."""
    try:
        with open(f"/proc/{pid}/status") as lines:
            facts = dict(line.split(":", 1) for line in lines)
        filters = facts.get("Seccomp_filters") or facts.get("Seccomp", "0")
        uid, gid = (int(facts[name].split()[1]) for name in ("Uid", "Gid"))
        memory = sum(int(facts.get(name, "0").split()[0]) << 10 for name in ("RssAnon", "VmSwap"))
        return Witness(pid, uid, gid, int(filters), int(facts["CapPrm"], 16), memory)
    except (FileNotFoundError, ProcessLookupError, KeyError, ValueError) as error:
        text = "the daemon can't be seen in /proc: run this in its PID namespace; it serves on"
        raise DeviceError(errno.ESRCH, text) from error
    except OSError as error:
        raise failed(f"what /proc says of PID {pid}", error) from error


def _lie(what: str) -> DeviceError:
    return DeviceError(errno.EPERM, f"the daemon tells what the kernel does not: {what}; it serves on")
