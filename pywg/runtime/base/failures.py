"""Messages of a start that fails, of one line each: what could not be had, why, and what to do about it."""

import contextlib
import errno
import os
from collections.abc import Iterator

from pywg.errors import DeviceError, PywgError

_DESCRIPTORS = "too many files are open here: raise the limit with `ulimit -n 1024`, or LimitNOFILE= in a unit"
_MEMORY = "free some memory, or raise its limit (`ulimit -v`, MemoryMax= in a unit, the container's)"
_REFUSED = "run as root; in a container, its profile (seccomp, AppArmor, SELinux) has to allow this"
_ADVICE = {
    errno.EMFILE: _DESCRIPTORS,
    errno.ENFILE: "the whole machine has too many files open: raise it with `sysctl fs.file-max`",
    errno.ENOMEM: _MEMORY,
    errno.ENOBUFS: _MEMORY,
    errno.EAGAIN: "raise the limit of processes and threads with `ulimit -u`, or TasksMax= in a unit",
    errno.EPERM: _REFUSED,
    errno.EACCES: _REFUSED,
    errno.ENOPROTOOPT: "this kernel doesn't know that socket option: Linux 4.14 or later is needed",
    errno.ENOSYS: "this kernel, or the container's profile (seccomp), has no such system call: allow it there",
    errno.EROFS: "the file system is read-only: mount it for writing",
    errno.ENOSPC: "make room: a file system, or a limit of the kernel's, is full",
    errno.EINVAL: "this kernel doesn't know what is asked for: Linux 4.14 or later is needed",
}
_NULL = "/dev/null"


def advice(code: int) -> str:
    """What the operator can do about errno `code`, after a semicolon; empty where there is no advice."""
    return f"; {_ADVICE[code]}" if code in _ADVICE else ""


def failed(what: str, error: Exception) -> DeviceError:
    """The error of one line that says that `what` can't be had, because of `error`."""
    if isinstance(error, MemoryError):
        error = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    if not isinstance(error, OSError) or error.errno is None:
        return DeviceError(errno.EIO, f"{what} can't be had: {error}")
    return DeviceError(error.errno, f"{what} can't be had: {os.strerror(error.errno)}{advice(error.errno)}")


@contextlib.contextmanager
def needing(what: str) -> Iterator[None]:
    """Raises an error of the system in the body as DeviceError, which names `what` and says what to do."""
    try:
        yield
    except PywgError:
        raise
    except (OSError, MemoryError, RuntimeError) as error:
        raise failed(what, error) from error


def open_null(flags: int) -> int:
    """A descriptor of /dev/null, the caller's. Raises DeviceError."""
    try:
        return os.open(_NULL, flags)
    except OSError as error:
        code = error.errno or errno.EIO
        text = f"{_NULL} can't be opened: {error.strerror}"
        if code in (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.ENOTDIR):
            text += f"; make it with `mknod -m 666 {_NULL} c 1 3`"
        raise DeviceError(code, text if "mknod" in text else text + advice(code)) from error
