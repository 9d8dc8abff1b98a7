"""Threads of another process, stopped to be looked at: ptrace(2), from the thread that calls."""

import contextlib
import ctypes
import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

CONT, SINGLESTEP, GETREGS, SETREGS, DETACH = 7, 9, 12, 13, 17
SETOPTIONS, GETREGSET, SEIZE, INTERRUPT = 0x4200, 0x4204, 0x4206, 0x4207
O_TRACEEXIT = 0x40
EVENT_EXIT = 6
WALL = 0x40000000
NT_PRSTATUS, NT_PRFPREG, NT_X86_XSTATE = 1, 2, 0x202
_REGISTERS_MAX = 16 << 10

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def request(number: int, tid: int, data: int = 0, address: int = 0) -> None:
    """One request about a thread. Raises OSError; skips the test where the machine forbids ptrace(2)."""
    if _libc.ptrace(number, tid, address or None, data or None) < 0:
        code = ctypes.get_errno()
        if code == errno.EPERM and number == SEIZE:
            pytest.skip("this machine forbids ptrace(2)")
        raise OSError(code, os.strerror(code))


def await_stop(tid: int) -> int:
    """Waits for the next stop, which is no signal's, and returns its status as of waitpid(2)."""
    status = _next_stop(tid)
    assert os.WSTOPSIG(status) == signal.SIGTRAP
    return status


def await_signal(tid: int) -> int:
    """Waits for the next stop, and returns what it is for: SIGTRAP after a step, or a signal that it will get next."""
    return os.WSTOPSIG(_next_stop(tid))


def _next_stop(tid: int) -> int:
    _, status = os.waitpid(tid, WALL)
    assert os.WIFSTOPPED(status)
    return status


def stop(tid: int) -> None:
    """Stops a thread wherever it is; a system call that it waits in goes on after `let_go`."""
    request(SEIZE, tid)
    request(INTERRUPT, tid)
    await_stop(tid)


def let_go(tid: int) -> None:
    """The inverse of `stop`."""
    request(DETACH, tid)


@contextlib.contextmanager
def at_exit(pid: int, number: signal.Signals) -> Iterator[None]:
    """Sends a signal, and stops the process when it has done all that it does, with its memory still there."""
    request(SEIZE, pid, O_TRACEEXIT)
    os.kill(pid, number)
    while True:
        _, status = os.waitpid(pid, WALL)
        assert os.WIFSTOPPED(status)
        if status >> 8 == signal.SIGTRAP | EVENT_EXIT << 8:
            break
        request(CONT, pid, os.WSTOPSIG(status))
    try:
        yield
    finally:
        let_go(pid)


@contextlib.contextmanager
def all_stopped(pid: int) -> Iterator[list[int]]:
    """Stops every thread of a process; gives their ids."""
    stopped: list[int] = []
    try:
        while new := [tid for tid in threads(pid) if tid not in stopped]:
            for tid in new:
                with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                    stop(tid)
                    stopped.append(tid)
        yield stopped
    finally:
        for tid in stopped:
            let_go(tid)


def threads(pid: int) -> list[int]:
    """The ids of the threads of process `pid`."""
    return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]


def registers(tid: int) -> bytes:
    """All registers of a stopped thread, one set after the other: the general ones and those of vectors."""
    found = b""
    buffer = ctypes.create_string_buffer(_REGISTERS_MAX)
    for kind in (NT_PRSTATUS, NT_PRFPREG, NT_X86_XSTATE):
        vector = _IoVec(ctypes.addressof(buffer), _REGISTERS_MAX)
        with contextlib.suppress(OSError):  # of another architecture
            request(GETREGSET, tid, ctypes.addressof(vector), kind)
            found += buffer.raw[: vector.length]
    return found
