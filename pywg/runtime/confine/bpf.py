"""Filters of system calls as programs, and how a thread comes under one: seccomp(2), struct seccomp_data.

A program allows the calls that it was made from, and refuses all others. A refused call either fails with EPERM, or
raises SIGSYS, so that pywg/dataplane/sys/seccomp.pyx can count it before it fails with EPERM. In both cases the kernel
writes an audit record. A call by another architecture's convention can't come from this program, so the kernel kills
the process for it.
"""

import errno
import os
import struct
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from pywg.runtime.base.classic_bpf import AND, JUMP_EQUAL, LOAD, RETURN, Instruction
from pywg.runtime.base.classic_bpf import program as for_call
from pywg.runtime.base.libc import syscall
from pywg.runtime.confine import calls


class Machine(NamedTuple):
    """A kind of processor, as the filter sees it."""

    architecture: int
    """AUDIT_ARCH_..."""
    calls: tuple[calls.Run, ...]


MACHINES = {"x86_64": Machine(0xC000003E, calls.X86_64), "aarch64": Machine(0xC00000B7, calls.AARCH64)}
"""By their names in uname(2)."""


class Test(NamedTuple):
    """The low 32 bits of argument `argument`, under `mask`, are `value`."""

    argument: int
    value: int
    mask: int = 0xFFFFFFFF


Alternatives: TypeAlias = list[tuple[Test, ...]]
"""A call is allowed when all tests of one of them hold; an empty one holds always."""

RET_KILL_PROCESS = 0x80000000
RET_TRAP = 0x00030000
RET_ERRNO = 0x00050000
RET_ALLOW = 0x7FFF0000
FAIL = RET_ERRNO | errno.EPERM
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # struct seccomp_data

_SET_MODE_FILTER = 1
_TSYNC, _LOG, _SPEC_ALLOW = 1, 2, 4
_IO_URING_SETUP = 425


def machine() -> Machine | None:
    """This machine; None for one that has no table."""
    return MACHINES.get(os.uname().machine) if struct.calcsize("P") == 8 else None


def program(for_machine: Machine, allowed: list[tuple[str, Alternatives]], *, refuse: int) -> list[Instruction]:
    """A program that allows these calls, and answers all others with `refuse`. A call may stand there once.

    Calls that this machine does not have are left out. Those without tests come first, in their order: of them the
    kernel keeps the answer, and runs no program.
    """
    numbers = calls.numbers(for_machine.calls)
    instructions = _prologue(for_machine.architecture)
    for name, alternatives in sorted(allowed, key=lambda call: call[1] != [()]):
        if name not in numbers:
            continue
        tested = [instruction for alternative in alternatives for instruction in _all_hold(alternative)]
        if alternatives != [()]:
            tested.append((RETURN, 0, 0, refuse))
        instructions += [(JUMP_EQUAL, 0, len(tested), numbers[name]), *tested]
    return [*instructions, (RETURN, 0, 0, refuse)]


def enter(instructions: list[Instruction], *, all_threads: bool, logged: bool = True) -> bool:
    """Puts the calling thread, or all threads of this process, under a program, for good.

    False where the kernel or this machine has no filters. `logged`: refused calls get audit records. The calling
    thread must have no_new_privs. Raises OSError for any other failure.
    """
    this = machine()
    if this is None:
        return False
    seccomp = calls.numbers(this.calls)["seccomp"]
    called = for_call(instructions)
    for flags in _flags(all_threads=all_threads, logged=logged):
        try:
            refused_by = syscall(seccomp, _SET_MODE_FILTER, flags, called.header)
        except OSError as error:
            if error.errno == errno.ENOSYS:
                return False
            if error.errno != errno.EINVAL:
                raise
            continue
        if refused_by:
            raise OSError(errno.ESRCH, f"thread {refused_by} can't be put under the filter")
        return True
    return False


def refuse_io_uring() -> bool:
    """Makes io_uring_setup(2) fail with ENOSYS in this thread and those it starts; otherwise as `enter`."""
    this = machine()
    if this is None:
        return False
    instructions = [
        *_prologue(this.architecture),
        (JUMP_EQUAL, 0, 1, _IO_URING_SETUP),
        (RETURN, 0, 0, RET_ERRNO | errno.ENOSYS),
        (RETURN, 0, 0, RET_ALLOW),
    ]
    return enter(instructions, all_threads=False, logged=False)


def refuse(names: Iterable[str]) -> bool:
    """Makes these calls fail with EPERM in this thread and those it starts; otherwise as `enter`.

    For a program whose libraries may make any other call. Names that this machine does not have are left out.
    """
    this = machine()
    if this is None:
        return False
    numbers = calls.numbers(this.calls)
    instructions = _prologue(this.architecture)
    for name in names:
        if name in numbers:
            instructions += [(JUMP_EQUAL, 0, 1, numbers[name]), (RETURN, 0, 0, FAIL)]
    return enter([*instructions, (RETURN, 0, 0, RET_ALLOW)], all_threads=False)


def _flags(*, all_threads: bool, logged: bool) -> list[int]:
    """Flags of seccomp(2), the best first: the first that the kernel knows is taken.

    They are all threads; an audit record for each refusal (Linux 4.14); and the CPU's speculation left as it is
    (4.17), which a filter would make slower before 5.16.
    """
    always = _TSYNC if all_threads else 0
    wanted = [_LOG | _SPEC_ALLOW, _LOG] if logged else [_SPEC_ALLOW]
    return [always | more for more in (*wanted, 0)]


def _prologue(architecture: int) -> list[Instruction]:
    """Instructions that check the architecture, and leave the number of the system call in the accumulator."""
    return [
        (LOAD, 0, 0, _ARCHITECTURE_AT),
        (JUMP_EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, RET_KILL_PROCESS),
        (LOAD, 0, 0, _NUMBER_AT),
    ]


def _all_hold(tests: Iterable[Test]) -> list[Instruction]:
    """Allows when all tests hold, else falls through to what comes next. Both architectures are little-endian."""
    instructions: list[Instruction] = [(RETURN, 0, 0, RET_ALLOW)]
    for test in reversed(list(tests)):
        instructions = [
            (LOAD, 0, 0, _ARGUMENTS_AT + 8 * test.argument),
            (AND, 0, 0, test.mask),
            (JUMP_EQUAL, 0, len(instructions), test.value),
            *instructions,
        ]
    return instructions
