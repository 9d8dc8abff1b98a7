"""Programs of classic BPF as the kernel takes them: struct sock_filter and sock_fprog, include/uapi/linux/filter.h.

Two parts have such programs: the filters of system calls (confine/bpf.py), and what steers datagrams between the
sockets of a port (net/socket_group.py).
"""

import ctypes
import struct
from typing import NamedTuple, TypeAlias

Instruction: TypeAlias = tuple[int, int, int, int]
"""struct sock_filter: code, jump if true, jump if false, k."""
_INSTRUCTION = struct.Struct("=HBBI")
_PROGRAM = struct.Struct("@HP")

LOAD, AND, SHIFT_RIGHT = 0x20, 0x54, 0x74  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_ALU|RSH|K
JUMP_EQUAL, RETURN, RETURN_A = 0x15, 0x06, 0x16  # BPF_JMP|JEQ|K, BPF_RET|K, BPF_RET|A


class Program(NamedTuple):
    """A program for a call that takes a struct sock_fprog."""

    header: bytes
    """That struct. It points to `text`, which has to live as long as it is used."""
    text: ctypes.Array[ctypes.c_char]


def code(instructions: list[Instruction]) -> bytes:
    """A program as the kernel takes it: an array of struct sock_filter."""
    return b"".join(_INSTRUCTION.pack(*one) for one in instructions)


def program(instructions: list[Instruction]) -> Program:
    """These instructions, for a call."""
    data = code(instructions)
    text = ctypes.create_string_buffer(data, len(data))
    return Program(_PROGRAM.pack(len(instructions), ctypes.addressof(text)), text)
