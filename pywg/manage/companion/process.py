"""The companion of an interface as a process: one at a time, found by its lock file, started and ended."""

import contextlib
import errno
import fcntl
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from pywg.errors import ConfigError, DeviceError
from pywg.manage.companion.guard import guard
from pywg.manage.companion.keeper import Keeper
from pywg.manage.companion.settings import read_apart
from pywg.manage.tunnel.daemon import program_of_pywg
from pywg.manage.tunnel.names import Target
from pywg.runtime.base import namespaces
from pywg.runtime.base.accounts import Account, read_account
from pywg.runtime.base.libc import forbid_dumps
from pywg.runtime.base.lock_file import locked
from pywg.runtime.base.log import Log

DIRECTORY = "/run/pywg"
USER = "nobody"
"""Whom the worker becomes, and hooks run as, unless it is said otherwise."""
READY_FD = "PYWG_COMPANION_READY_FD"
"""A variable: the descriptor on which the companion writes a byte once it runs."""
_START_S = 30.0
_END_S = 5.0


def run(target: Target, log: Log, *, user: str = USER) -> None:
    """Is the companion of an interface until a signal ends it. Raises DeviceError, ConfigError for what a file says."""
    forbid_dumps()
    settings = read_apart(target)
    if not settings.wanted:
        raise ConfigError(f"{target.path} asks for nothing of a companion: pywg help companion")
    account = None if os.geteuid() else read_account("--user", user)
    hook_account: Account | None = account
    if settings.hook_user and account is not None:
        root = settings.hook_user.partition(":")[0] in ("root", "0")
        hook_account = None if root else read_account("pywg.HookUser", settings.hook_user)
    with _locked(target.interface) as fd:
        keeper = Keeper(target.interface, settings, log, account=account, hook_account=hook_account)
        keeper.confine()
        guard(keeper.run, _tell_ready, log.error, lambda: _sign(fd))


def start(target: Target, environ: dict[str, str]) -> None:
    """Starts it in the background, and returns when it runs. Raises DeviceError with what it says."""
    reading, writing = os.pipe()
    with open(reading, "rb") as ready:
        try:
            process = subprocess.Popen(
                [*program_of_pywg(), "companion", os.path.realpath(target.path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**environ, READY_FD: str(writing)},
                pass_fds=[writing],
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(writing)
        heard = select.select([ready], [], [], _START_S)[0]
        if heard and ready.read(1):
            assert process.stderr is not None
            process.stderr.close()
            process.returncode = 0  # it is not waited for: it goes on
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its children too, which have standard error open and would go on
        _, text = process.communicate()
    lines = text.decode(errors="replace").strip().splitlines()
    raise DeviceError(errno.EIO, lines[-1].removeprefix("pywg: ") if lines else "it did not start")


def stop(interface: str) -> bool:
    """Ends the companion of an interface of this network namespace. Whether there was one. Raises OSError."""
    path = lock_file(interface)
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        there = False
        until = time.monotonic() + 2 * _END_S
        while not _has_ended(fd):
            there = True
            if time.monotonic() >= until:  # its lock file stays, or a second one could start
                raise DeviceError(errno.ETIMEDOUT, f"the companion of {interface} does not end")
            pid = _signed(fd)
            if not pid or not _end(pid, fd):
                time.sleep(0.01)  # it was killed, or has just begun: who has the lock has not yet signed
        path.unlink(missing_ok=True)
        return there
    finally:
        os.close(fd)


def runs(interface: str) -> bool | None:
    """Whether an interface of this network namespace has a companion; None: this process may not know."""
    try:
        fd = os.open(lock_file(interface), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except PermissionError:
        return None
    except OSError:
        return False
    try:
        return not _has_ended(fd)
    finally:
        os.close(fd)


def _has_ended(fd: int) -> bool:
    """Whether no process has a lock file locked. Then this one has."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_file(interface: str) -> Path:
    """It is locked by the companion, whose PID it has."""
    return Path(DIRECTORY, f"{interface}@{namespaces.of_this_thread()}.companion")


def _signed(fd: int) -> int:
    """The PID that is in a lock file; 0: none yet."""
    text = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
    return int(text) if text.isdigit() else 0


def _end(pid: int, lock: int) -> bool:
    """Ends the process that has the lock file `lock` locked, and has signed it with `pid`. False where it is gone."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if _has_ended(lock) or _signed(lock) != pid:
            return False  # it had ended before, and another process may have its PID now
        with contextlib.suppress(ProcessLookupError):
            for number in (signal.SIGTERM, signal.SIGKILL):
                signal.pidfd_send_signal(fd, number)
                if select.select([fd], [], [], _END_S)[0]:
                    break
    finally:
        os.close(fd)
    return True


def _tell_ready() -> None:
    """Once: later workers are no news."""
    number = os.environ.pop(READY_FD, "")
    if number.isdigit():
        with contextlib.suppress(OSError):
            os.write(int(number), b"1")
            os.close(int(number))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)


@contextlib.contextmanager
def _locked(interface: str) -> Iterator[int]:
    """The descriptor of the lock file. Every process of the companion has it: it is locked until all have ended."""
    os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
    has_one = DeviceError(errno.EBUSY, f"{interface} has a companion already")
    with locked(lock_file(interface), taken=lambda: has_one) as fd:
        _sign(fd)
        yield fd


def _sign(fd: int) -> None:
    """This process is the one to be ended."""
    text = f"{os.getpid()}\n".encode()
    os.pwrite(fd, text, 0)
    os.truncate(fd, len(text))
