"""Lock files: the process that has one locked (flock(2)) is alone with what it stands for, and removes it in the end.

Who may open such a file may lock it, and keep others waiting. So it is its owner's alone.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_PAUSE_S = 0.005


def lock(path: str | os.PathLike[str], *, wait_s: float = 0.0) -> int:
    """The descriptor, the caller's, of the file, which it has made or found, and locked.

    Raises OSError: BlockingIOError where another has it locked, and still has after `wait_s`.
    """
    end = time.monotonic() + wait_s
    while True:
        fd = os.open(path, _FLAGS, 0o600)
        try:
            _lock(fd, end)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.stat(path)):
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its last holder has removed the file


@contextlib.contextmanager
def locked(
    path: str | os.PathLike[str], *, wait_s: float = 0.0, taken: Callable[[], Exception] | None = None
) -> Iterator[int]:
    """As `lock`, for the body: then the file is gone, and the descriptor is closed.

    Raises what `taken` makes, where that is given, in place of BlockingIOError.
    """
    try:
        fd = lock(path, wait_s=wait_s)
    except BlockingIOError:
        if taken is None:
            raise
        raise taken() from None
    try:
        yield fd
    finally:
        with contextlib.suppress(OSError):  # while it is locked, or another would lock what is to go
            os.unlink(path)
        with contextlib.suppress(OSError):
            os.close(fd)


def _lock(fd: int, end: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
            time.sleep(_PAUSE_S)
        else:
            return
