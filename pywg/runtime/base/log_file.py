"""A file as the log's output: opened once, at the start, and written at its end. logrotate needs `copytruncate`."""

import errno
import os

from pywg.errors import DeviceError
from pywg.runtime.base.failures import advice
from pywg.runtime.base.log_output import StandardError


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


def open_log_file(path: str) -> StandardError:
    """The output that appends to the file at `path`, which only its owner can read when it is new.

    Raises DeviceError when there can be no such file. Lines for which the disk has no room are lost, and counted.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        code = error.errno or errno.EIO
        raise DeviceError(code, f"the log file {path!a} can't be opened: {os.strerror(code)}{advice(code)}") from error
    return _File(fd)
