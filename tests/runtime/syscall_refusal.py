"""System calls that the kernel refuses: filters of seccomp(2) in the process that asks for it, and what it starts."""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence
from typing import NamedTuple

SUPPORTED = platform.machine() == "x86_64"
_SECCOMP, _SET_MODE_FILTER, _TSYNC = 317, 1, 1
_PR_SET_NO_NEW_PRIVS = 38
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER_AT, _ARGUMENTS_AT = 0, 16

_libc = ctypes.CDLL(None, use_errno=True)


class Argument(NamedTuple):
    """Only calls whose argument number `at` is `value`, in its low 32 bits."""

    at: int
    value: int


def refuse(number: int, code: int, arguments: Sequence[Argument] = (), *, all_threads: bool = False) -> None:
    """From now on system call `number` fails with errno `code`. With a `code` of 0 it does nothing, and returns 0."""
    program = [(_LOAD, 0, 0, _NUMBER_AT), (_JUMP_EQUAL, 0, 1 + 2 * len(arguments), number)]
    for done, argument in enumerate(arguments, 1):
        program.append((_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument.at))
        program.append((_JUMP_EQUAL, 0, 1 + 2 * (len(arguments) - done), argument.value))
    program += [(_RETURN, 0, 0, _ERRNO | code), (_RETURN, 0, 0, _ALLOW)]
    install(program, _TSYNC if all_threads else 0)


def install(program: Sequence[tuple[int, int, int, int]], flags: int) -> int:
    """Puts the calling thread under a filter, struct sock_filter by struct sock_filter. What seccomp(2) returns."""
    code = b"".join(struct.pack("=HBBI", *one) for one in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    description = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(buffer)))
    if os.geteuid() != 0:
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    result: int = _libc.syscall(_SECCOMP, _SET_MODE_FILTER, flags, description)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"seccomp: {errno.errorcode[ctypes.get_errno()]}")
    return result
