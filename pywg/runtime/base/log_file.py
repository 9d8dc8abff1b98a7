"""A file as the log's output: opened once, at the start, and written at its end. logrotate needs `copytruncate`."""

import ctypes
import errno
import os
import struct
from typing import Final

from pywg.errors import DeviceError
from pywg.runtime.base.failures import advice
from pywg.runtime.base.libc import syscall
from pywg.runtime.base.log_output import StandardError

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
_MODE: Final = 0o600
_OPENAT2, _AT_FDCWD, _RESOLVE_NO_SYMLINKS = 437, -100, 4  # the same on every architecture
_NO_OPENAT2: Final = (errno.ENOSYS, errno.EPERM)
"""Errors of a kernel before 5.6, and of a container's profile that doesn't know the call."""


class _File(StandardError):  # noqa: N818 - its base is a file, and no exception
    """Owns its descriptor."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd=fd)
        self._fd = fd

    def close(self) -> None:
        super().close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def open_log_file(path: str, *, links: bool = True) -> StandardError:
    """The output that appends to the file at `path`, which only its owner can read when it is new.

    Raises DeviceError when there can be no such file, or where one of its parts is a symbolic link and not `links`.
    Lines for which the disk has no room are lost, and counted.
    """
    try:
        fd = os.open(path, _FLAGS, _MODE) if links else _open_without_links(path)
    except OSError as error:
        code = error.errno or errno.EIO
        raise DeviceError(code, f"the log file {path!a} can't be opened: {os.strerror(code)}{advice(code)}") from error
    return _File(fd)


def _open_without_links(path: str) -> int:
    how = ctypes.create_string_buffer(struct.pack("=QQQ", _FLAGS, _MODE, _RESOLVE_NO_SYMLINKS), 24)
    try:
        return syscall(_OPENAT2, _AT_FDCWD, os.fsencode(path), how, len(how))
    except OSError as error:
        if error.errno not in _NO_OPENAT2:
            raise
    return os.open(path, _FLAGS | os.O_NOFOLLOW, _MODE)
