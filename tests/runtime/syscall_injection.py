"""System calls made inside a thread of another process, as an intruder in that thread would make them: ptrace(2)."""

import contextlib
import ctypes
import errno
import platform
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ptrace

# struct user_regs_struct of x86-64: 27 words
_REGISTERS = struct.Struct("=27Q")
_R10, _R9, _R8, _RAX, _RDX, _RSI, _RDI, _ORIG_RAX, _RIP, _RSP = 7, 8, 9, 10, 12, 13, 14, 15, 16, 19
_ARGUMENTS = (_RDI, _RSI, _RDX, _R10, _R8, _R9)
_SYSCALL = b"\x0f\x05"
_BELOW_THE_STACK = 4096
_MOST_STEPS = 1000
_PATIENCE_S, _PAUSE_S = 20.0, 0.001


def thread_of(pid: int, name: str) -> int:
    """The id of the one thread of process `pid` that has this name."""
    (found,) = threads_of(pid, name)
    return found


def threads_of(pid: int, name: str) -> list[int]:
    """The ids of all threads of process `pid` that have this name, in the order in which they began."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sorted(int(task.name) for task in tasks if (task / "comm").read_text() == f"{name}\n")


class Inside:
    """A thread that is stopped in a system call."""

    def __init__(self, tid: int) -> None:
        self._tid = tid
        self.refused = False
        self._registers = self._read()
        self.room = (self._registers[_RSP] - _BELOW_THE_STACK) & ~0xF
        """Where `put` writes: memory of the thread that it doesn't use now."""

    def is_in_a_call(self) -> bool:
        """Whether it was stopped in a system call, and not in its program."""
        with open(f"/proc/{self._tid}/mem", "rb") as memory:
            memory.seek(self._registers[_RIP] - len(_SYSCALL))
            return memory.read(len(_SYSCALL)) == _SYSCALL

    def put(self, data: bytes) -> int:
        """Writes up to 1 KiB into the thread's memory and returns the address, which is always the same."""
        with open(f"/proc/{self._tid}/mem", "r+b", buffering=0) as memory:
            memory.seek(self.room)
            memory.write(data)
        return self.room

    def call(self, number: int, *arguments: int, stack: int | None = None) -> str:
        """`0` or another number that the call returns, or the name of its error, or of the signal that it raises.

        Afterwards `refused` tells whether a filter raised SIGSYS for it: the thread's handler has run then. Other
        signals the thread doesn't get. `stack`: another stack pointer, for the call.
        """
        self._begin(number, arguments, stack)
        stopped_by = ptrace.await_signal(self._tid)
        self.refused = stopped_by == signal.SIGSYS
        if self.refused:
            self._handle()
        elif stopped_by != signal.SIGTRAP:
            self._write(self._registers)
            ptrace.request(ptrace.SINGLESTEP, self._tid)  # the end of the first step still waits to be told
            assert ptrace.await_signal(self._tid) == signal.SIGTRAP
            self._write(self._registers)
            return signal.Signals(stopped_by).name
        result = struct.unpack("=q", struct.pack("=Q", self._read()[_RAX]))[0]
        self._write(self._registers)
        return errno.errorcode[-result] if -4096 < result < 0 else str(result)

    def ends(self, number: int) -> bool:
        """Whether a call without arguments ends the thread, which it then does."""
        ptrace.request(ptrace.SETOPTIONS, self._tid, ptrace.O_TRACEEXIT)
        self._begin(number, (255,), None)
        return ptrace.await_stop(self._tid) >> 16 == ptrace.EVENT_EXIT

    def leave_with(self, number: int, *arguments: int) -> None:
        """Has the thread make a call when it goes on, in place of the one that it waits in."""
        self._registers = self._prepared(number, arguments, None)
        self._write(self._registers)

    def _begin(self, number: int, arguments: tuple[int, ...], stack: int | None) -> None:
        self._write(self._prepared(number, arguments, stack))
        ptrace.request(ptrace.SINGLESTEP, self._tid)

    def _prepared(self, number: int, arguments: tuple[int, ...], stack: int | None) -> list[int]:
        registers = list(self._registers)
        registers[_RIP] -= len(_SYSCALL)
        registers[_RAX] = number
        registers[_ORIG_RAX] = 0xFFFFFFFFFFFFFFFF  # no system call is to be restarted now
        for register, argument in zip(_ARGUMENTS, arguments, strict=False):
            registers[register] = argument & 0xFFFFFFFFFFFFFFFF
        if stack is not None:
            registers[_RSP] = stack
        return registers

    def _handle(self) -> None:
        """Delivers the signal, and goes through the handler step by step until the call returns."""
        given: int = signal.SIGSYS
        for _ in range(_MOST_STEPS):
            ptrace.request(ptrace.SINGLESTEP, self._tid, given)
            assert ptrace.await_signal(self._tid) == signal.SIGTRAP
            given = 0
            if self._read()[_RIP] == self._registers[_RIP]:
                return
        raise AssertionError("the handler does not return")

    def _read(self) -> list[int]:
        buffer = ctypes.create_string_buffer(_REGISTERS.size)
        ptrace.request(ptrace.GETREGS, self._tid, ctypes.addressof(buffer))
        return list(_REGISTERS.unpack(buffer.raw))

    def _write(self, registers: list[int]) -> None:
        buffer = ctypes.create_string_buffer(_REGISTERS.pack(*registers), _REGISTERS.size)
        ptrace.request(ptrace.SETREGS, self._tid, ctypes.addressof(buffer))


@contextlib.contextmanager
def inside(tid: int) -> Iterator[Inside]:
    """Stops a thread that waits in a system call; afterwards it waits on.

    One that has answered goes on for a moment before it waits again, and is stopped once more then.
    """
    if platform.machine() != "x86_64":
        pytest.skip("registers are known for x86-64 alone")
    end = time.monotonic() + _PATIENCE_S
    ptrace.stop(tid)
    try:
        while not (thread := Inside(tid)).is_in_a_call():
            assert time.monotonic() < end, "it waits in no system call"
            ptrace.let_go(tid)
            time.sleep(_PAUSE_S)
            ptrace.stop(tid)
        yield thread
    finally:
        ptrace.let_go(tid)
