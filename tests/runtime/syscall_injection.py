"""System calls made inside a thread of another process, as an intruder in that thread would make them: ptrace(2)."""

import contextlib
import ctypes
import errno
import os
import platform
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

_PTRACE_SINGLESTEP, _PTRACE_GETREGS, _PTRACE_SETREGS = 9, 12, 13
_PTRACE_DETACH, _PTRACE_SEIZE, _PTRACE_INTERRUPT = 17, 0x4206, 0x4207
_WALL = 0x40000000

# struct user_regs_struct of x86-64: 27 words
_REGISTERS = struct.Struct("=27Q")
_R10, _R9, _R8, _RAX, _RDX, _RSI, _RDI, _ORIG_RAX, _RIP, _RSP = 7, 8, 9, 10, 12, 13, 14, 15, 16, 19
_ARGUMENTS = (_RDI, _RSI, _RDX, _R10, _R8, _R9)
_SYSCALL = b"\x0f\x05"
_BELOW_THE_STACK = 4096

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def thread_of(pid: int, name: str) -> int:
    """The id of the one thread of process `pid` that has this name."""
    (found,) = [
        int(task.name) for task in Path(f"/proc/{pid}/task").iterdir() if (task / "comm").read_text() == f"{name}\n"
    ]
    return found


class Inside:
    """A thread that is stopped in a system call."""

    def __init__(self, tid: int) -> None:
        self._tid = tid
        self._registers = self._read()
        rip = self._registers[_RIP]
        self.room = (self._registers[_RSP] - _BELOW_THE_STACK) & ~0xF
        """Where `put` writes: memory of the thread that it doesn't use now."""
        with open(f"/proc/{tid}/mem", "rb") as memory:
            memory.seek(rip - len(_SYSCALL))
            assert memory.read(len(_SYSCALL)) == _SYSCALL

    def put(self, data: bytes) -> int:
        """Writes up to 1 KiB into the thread's memory and returns the address, which is always the same."""
        with open(f"/proc/{self._tid}/mem", "r+b", buffering=0) as memory:
            memory.seek(self.room)
            memory.write(data)
        return self.room

    def call(self, number: int, *arguments: int) -> str:
        """`0` or another number that the call returns, or the name of its error."""
        registers = list(self._registers)
        registers[_RIP] -= len(_SYSCALL)
        registers[_RAX] = number
        registers[_ORIG_RAX] = 0xFFFFFFFFFFFFFFFF  # no system call is to be restarted now
        for register, argument in zip(_ARGUMENTS, arguments, strict=False):
            registers[register] = argument & 0xFFFFFFFFFFFFFFFF
        self._write(registers)
        _ptrace(_PTRACE_SINGLESTEP, self._tid)
        _await_stop(self._tid)
        result = struct.unpack("=q", struct.pack("=Q", self._read()[_RAX]))[0]
        self._write(self._registers)
        return errno.errorcode[-result] if -4096 < result < 0 else str(result)

    def _read(self) -> list[int]:
        buffer = ctypes.create_string_buffer(_REGISTERS.size)
        _ptrace(_PTRACE_GETREGS, self._tid, ctypes.addressof(buffer))
        return list(_REGISTERS.unpack(buffer.raw))

    def _write(self, registers: list[int]) -> None:
        buffer = ctypes.create_string_buffer(_REGISTERS.pack(*registers), _REGISTERS.size)
        _ptrace(_PTRACE_SETREGS, self._tid, ctypes.addressof(buffer))


@contextlib.contextmanager
def inside(tid: int) -> Iterator[Inside]:
    """Stops a thread that waits in a system call; afterwards it waits on."""
    if platform.machine() != "x86_64":
        pytest.skip("registers are known for x86-64 alone")
    _ptrace(_PTRACE_SEIZE, tid)
    _ptrace(_PTRACE_INTERRUPT, tid)
    _await_stop(tid)
    try:
        yield Inside(tid)
    finally:
        _ptrace(_PTRACE_DETACH, tid)


def _await_stop(tid: int) -> None:
    _, status = os.waitpid(tid, _WALL)
    assert os.WIFSTOPPED(status)
    assert os.WSTOPSIG(status) == signal.SIGTRAP


def _ptrace(request: int, tid: int, data: int = 0) -> None:
    if _libc.ptrace(request, tid, None, data) < 0:
        code = ctypes.get_errno()
        if code == errno.EPERM and request == _PTRACE_SEIZE:
            pytest.skip("this machine forbids ptrace(2)")
        raise OSError(code, os.strerror(code))
