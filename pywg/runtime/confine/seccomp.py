"""System calls that a running daemon may make, as a filter for all its threads: seccomp(2).

The filter is an allow-list. Any other call fails with EPERM, and the kernel writes an audit record of it. The process
lives on: a libc that some day uses a call not listed here shall cost a log line and not the tunnel, and to an attacker
inside the process the call is absent either way. A call by another architecture's convention can't come from this
program, so the kernel kills the process for it.

The list is ordered by caller, and a call without a caller is not on it. No call on it opens or changes a file, starts a
process or a thread, signals another process, or makes memory executable. Where one call does a hundred things, as
setsockopt does, the list names them one by one.
"""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from pywg.config import addresses
from pywg.runtime.base.libc import syscall
from pywg.runtime.net import link, refusal, sockets, tun


class _Machine(NamedTuple):
    column: int
    """in the tables below"""
    architecture: int
    """AUDIT_ARCH_..."""
    seccomp: int
    """the number of seccomp(2)"""


_MACHINES = {"x86_64": _Machine(0, 0xC000003E, 317), "aarch64": _Machine(1, 0xC00000B7, 277)}
"""By their names in uname(2)."""

_Numbers: TypeAlias = dict[str, tuple[int | None, int | None]]

_DATA_PLANE: _Numbers = {
    "read": (0, 63),
    "write": (1, 64),
    "writev": (20, 66),
    "poll": (7, None),
    "ppoll": (271, 73),
    "recvmmsg": (299, 243),
    "sendto": (44, 206),
    "sendmmsg": (307, 269),
    "munmap": (11, 215),
    "madvise": (28, 233),
    "mlock": (149, 228),
}
"""Calls of pywg/dataplane/: the name, and its number on x86-64 and on aarch64 (None: there is no such call)."""
_CONTROL_PLANE: _Numbers = {
    "recvfrom": (45, 207),
    "accept4": (288, 242),
    "bind": (49, 200),
    "connect": (42, 203),
    "close": (3, 57),
    "getsockname": (51, 204),
    "fstat": (5, 80),
    "stat": (4, None),
    "lstat": (6, None),
    "newfstatat": (262, 79),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "timerfd_settime": (286, 86),
    "getrandom": (318, 278),
    "uname": (63, 160),
}
"""Calls of pywg/runtime/; stat(2) and unlink(2) also under the names that other machines and libcs have for them."""
_RUNTIME: _Numbers = {
    "epoll_wait": (232, None),
    "epoll_pwait": (281, 22),
    "epoll_ctl": (233, 21),
    "futex": (202, 98),
    "sched_yield": (24, 124),
    "rseq": (334, 293),
    "set_robust_list": (273, 99),
    "mremap": (25, 216),
    "brk": (12, 214),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
"""Calls of Python, its event loop, libcrypto and libc: for threads, signals, memory and the end, after a stop, and
where the vDSO has no clock."""
_ALWAYS: _Numbers = {**_DATA_PLANE, **_CONTROL_PLANE, **_RUNTIME}


class _Test(NamedTuple):
    """The low 32 bits of argument `argument`, under `mask`, are `value`."""

    argument: int
    value: int
    mask: int = 0xFFFFFFFF


_PROT_EXEC = 4
_SOCK_TYPE_MASK = 0xF
_UDP = (_Test(1, socket.SOCK_DGRAM, _SOCK_TYPE_MASK), _Test(2, socket.IPPROTO_UDP))
_FIONBIO = 0x5421
_IOCTLS = (
    _FIONBIO,
    tun.TUNGETIFF,
    link.TUNGETDEVNETNS,
    link.SIOCGSKNS,
    addresses.SIOCGIFNAME,
    addresses.SIOCGIFINDEX,
)
_FCNTLS = {"F_DUPFD": 0, "F_GETFD": 1, "F_SETFD": 2, "F_GETFL": 3, "F_SETFL": 4, "F_DUPFD_CLOEXEC": 1030}
"""Without F_SETOWN and F_SETSIG, by which a descriptor can send any signal to any process."""
_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_SNDBUF),
    (socket.SOL_SOCKET, socket.SO_RCVBUF),
    (socket.SOL_SOCKET, sockets.SO_SNDBUFFORCE),
    (socket.SOL_SOCKET, sockets.SO_RCVBUFFORCE),
    (socket.SOL_SOCKET, socket.SO_MARK),
    (socket.SOL_SOCKET, socket.SO_BINDTODEVICE),
    (socket.IPPROTO_IP, sockets.IP_PKTINFO),
    (socket.IPPROTO_IP, sockets.IP_MTU_DISCOVER),
    (socket.IPPROTO_IP, sockets.IP_RECVTOS),
    (socket.IPPROTO_IP, refusal.IP_RECVERR),
    (socket.IPPROTO_IPV6, refusal.IPV6_RECVERR),
    (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY),
    (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO),
    (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS),
    (socket.IPPROTO_UDP, sockets.UDP_GRO),
)
"""Level and name of the options that net/sockets.py and net/refusal.py set on new UDP sockets. Options of x_tables (64
and up at both IP levels) are left out, because CAP_NET_ADMIN opens them, and filters (SO_ATTACH_...), because the
kernel compiles them."""
_OWN_PID = -1
"""The value of a test that stands for this process."""

_SOMETIMES: dict[str, tuple[tuple[int, int], list[tuple[_Test, ...]]]] = {
    "ioctl": ((16, 29), [(_Test(1, request),) for request in _IOCTLS]),
    "mmap": ((9, 222), [(_Test(2, 0, _PROT_EXEC),)]),
    "mprotect": ((10, 226), [(_Test(2, 0, _PROT_EXEC),)]),
    "fcntl": ((72, 25), [(_Test(1, command),) for command in _FCNTLS.values()]),
    "getsockopt": ((55, 209), [(_Test(1, level),) for level in (socket.SOL_SOCKET, socket.IPPROTO_UDP)]),
    "setsockopt": ((54, 208), [(_Test(1, level), _Test(2, option)) for level, option in _OPTIONS]),
    "tgkill": ((234, 131), [(_Test(0, _OWN_PID),)]),  # abort() raises its signal with it
    # A new listen port, and questions to rtnetlink: no other netlink family, whatever CAP_NET_ADMIN would do there.
    "socket": (
        (41, 198),
        [
            (_Test(0, socket.AF_INET), *_UDP),
            (_Test(0, socket.AF_INET6), *_UDP),
            (_Test(0, socket.AF_NETLINK), _Test(2, socket.NETLINK_ROUTE)),
        ],
    ),
}
"""Name -> numbers, and alternatives: the filter allows the call when all tests of one alternative hold."""

_SECCOMP_SET_MODE_FILTER = 1
_TSYNC, _LOG, _SPEC_ALLOW = 1, 2, 4
_ALL_LOGGED = (_TSYNC | _LOG | _SPEC_ALLOW, _TSYNC | _LOG, _TSYNC)
"""Flags: all threads; an audit record for each refusal (Linux 4.14); and the CPU's speculation left as it is (4.17),
which a filter would make slower before 5.16. The first set that the kernel knows is taken."""
_ALL_UNLOGGED = (_TSYNC | _SPEC_ALLOW, _TSYNC)

_IO_URING_SETUP = 425

_RET_KILL_PROCESS = 0x80000000
_RET_ERRNO = 0x00050000
_RET_ALLOW = 0x7FFF0000
_LOAD, _AND, _JUMP_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_JMP|JEQ|K, BPF_RET|K
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # struct seccomp_data

_Instruction = tuple[int, int, int, int]
"""struct sock_filter: code, jump if true, jump if false, k."""


def restrict() -> bool:
    """Puts all threads of this process under the filter; False where the kernel, or this table, has no filter.

    The calling thread must have no_new_privs. Raises OSError for any other failure.
    """
    machine = _machine()
    if machine is None:
        return False
    instructions = program(machine.column, machine.architecture, os.getpid())
    return _install(instructions, machine.seccomp, _ALL_LOGGED)


def refuse_io_uring() -> bool:
    """Makes io_uring_setup(2) fail with ENOSYS in this thread and those it starts; otherwise as `restrict`."""
    machine = _machine()
    if machine is None:
        return False
    instructions = [
        *_prologue(machine.architecture),
        (_JUMP_EQUAL, 0, 1, _IO_URING_SETUP),
        (_RETURN, 0, 0, _RET_ERRNO | errno.ENOSYS),
        (_RETURN, 0, 0, _RET_ALLOW),
    ]
    return _install(instructions, machine.seccomp, _ALL_UNLOGGED)


def _machine() -> _Machine | None:
    return _MACHINES.get(os.uname().machine) if struct.calcsize("P") == 8 else None


def _install(instructions: list[_Instruction], number: int, flag_sets: tuple[int, ...]) -> bool:
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in instructions))
    filter_program = ctypes.create_string_buffer(struct.pack("@HP", len(instructions), ctypes.addressof(code)))
    for flags in flag_sets:
        try:
            refused_by = syscall(number, _SECCOMP_SET_MODE_FILTER, flags, filter_program)
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


def program(column: int, architecture: int, pid: int) -> list[_Instruction]:
    """The filter for one column of the tables, and for process `pid`."""
    instructions = _prologue(architecture)
    for numbers in _ALWAYS.values():
        if (number := numbers[column]) is not None:
            instructions += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _RET_ALLOW)]
    for numbers_there, alternatives in _SOMETIMES.values():
        tested = [instruction for alternative in alternatives for instruction in _all_hold(alternative, pid)]
        tested.append((_RETURN, 0, 0, _RET_ERRNO | errno.EPERM))
        instructions += [(_JUMP_EQUAL, 0, len(tested), numbers_there[column]), *tested]
    instructions.append((_RETURN, 0, 0, _RET_ERRNO | errno.EPERM))
    return instructions


def _prologue(architecture: int) -> list[_Instruction]:
    """Instructions that check the architecture, and leave the number of the system call in the accumulator."""
    return [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _RET_KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]


def _all_hold(tests: Iterable[_Test], pid: int) -> list[_Instruction]:
    """Allows when all tests hold, else falls through to what comes next. Both architectures are little-endian."""
    instructions: list[_Instruction] = [(_RETURN, 0, 0, _RET_ALLOW)]
    for test in reversed(list(tests)):
        instructions = [
            (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * test.argument),
            (_AND, 0, 0, test.mask),
            (_JUMP_EQUAL, 0, len(instructions), pid if test.value == _OWN_PID else test.value),
            *instructions,
        ]
    return instructions
