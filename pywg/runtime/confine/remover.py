"""A process that removes the daemon's sockets when the daemon has ended, for a daemon whose user may not.

The sockets lie in root's folder, where `wg` looks for them. A daemon of another user may not remove them there, and a
right to do so, such as a folder that its group may write, would let it make sockets under the names of other interfaces
as well, to which `wg` would send their keys. So a process stays beside the daemon that may, and does nothing else: it
waits for one byte of a pipe, whatever that is, or for the pipe's end. It is forked before there is a key or a peer,
holds no descriptor of the daemon's, and has no capability; that folder is its root directory; Landlock lets it remove
files there, and seccomp leaves it the few calls that this takes. Of a daemon that is killed the sockets stay, as ever:
`wg` removes a socket on which no daemon answers, and the next daemon takes it over.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
from collections.abc import Sequence

from pywg.runtime.base.libc import prctl, read_pipe
from pywg.runtime.base.system import SocketFile
from pywg.runtime.confine import capabilities, landlock, root, seccomp

PATIENCE_MS = 2000
"""Milliseconds that the daemon waits at its end for its sockets to be removed: a stopped process would never do it."""
_PR_SET_NO_NEW_PRIVS = 38
_DESCRIPTORS = 1 << 20
"""Below this number they are closed, and below the hard limit."""
_NAME = "pywg-remover"
_ARGUMENTS = slice(45, 47)
"""Where the command line begins and ends, among the fields of /proc/self/stat after the name: arg_start, arg_end."""


class Remover:
    """See base/system.py. Forks the process. All `files` lie in one folder. Raises OSError."""

    def __init__(self, files: Sequence[SocketFile]) -> None:
        waits, self._held = os.pipe()
        self._done, tells = os.pipe()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel then keeps no status of it to be waited for
        if os.fork() == 0:
            try:
                _serve(files, waits, tells)
            finally:
                os._exit(0)
        os.close(waits)
        os.close(tells)

    def finish(self) -> None:
        """Has the files removed now, and waits for that. Idempotent."""
        if self._held < 0:
            return
        with contextlib.suppress(OSError):  # it was killed
            os.write(self._held, b"1")
        os.close(self._held)
        self._held = -1
        end = select.poll()
        end.register(self._done, select.POLLIN)
        end.poll(PATIENCE_MS)
        os.close(self._done)


def _serve(files: Sequence[SocketFile], waits: int, tells: int) -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)  # they are meant for the daemon, and this comes after it
    _let_go(waits, tells)
    _rename()
    folder = _confine(os.path.dirname(files[0].path), waits)
    if not read_pipe(waits, 1):
        return
    for path, device, inode in files:
        with contextlib.suppress(OSError):
            here = os.path.join(folder, os.path.basename(path))
            found = os.lstat(here)
            if (found.st_dev, found.st_ino) == (device, inode):
                os.unlink(here)


def _let_go(*kept: int) -> None:
    """Closes what is the daemon's: an interface lives as long as a descriptor of it does."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
    limit = -1
    with contextlib.suppress(OSError):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = _DESCRIPTORS if limit < 0 else min(limit, _DESCRIPTORS)
    start = 3
    for fd in (*sorted(kept), max(most, *kept)):
        os.closerange(start, fd)
        start = fd + 1


def _rename() -> None:
    """Shows it as what it is, also to those who look for the daemon by its command line."""
    with contextlib.suppress(OSError):
        with open("/proc/self/comm", "w") as comm:
            comm.write(_NAME)
        with open("/proc/self/stat") as stat:
            start, end = map(int, stat.read().rpartition(")")[2].split()[_ARGUMENTS])
        if end - start > len(_NAME):
            ctypes.memset(start, 0, end - start)
            ctypes.memmove(start, _NAME.encode(), len(_NAME))


def _confine(folder: str, waits: int) -> str:
    """Returns the folder's path from now on. What can't be had is left out, as it is for the daemon."""
    with contextlib.suppress(OSError):
        os.chdir("/")
    with contextlib.suppress(OSError):
        root.enter_folder(folder)
        folder = "/"
    with contextlib.suppress(OSError):
        prctl(_PR_SET_NO_NEW_PRIVS, 1)
    steps = (
        lambda: capabilities.keep_only(0),
        lambda: landlock.restrict(folder),
        lambda: seccomp.restrict_remover(waits),  # nobody would hear of what is refused here
    )
    for step in steps:
        with contextlib.suppress(OSError):
            step()
    return folder
