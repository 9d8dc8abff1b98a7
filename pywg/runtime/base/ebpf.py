"""Programs of eBPF, and how the kernel takes them: struct bpf_insn and bpf(2), include/uapi/linux/bpf.h.

A program is written as a listing of instructions and of names, which are the places behind them that jumps go to. It
has what a socket filter needs: arithmetic on 64 bits, jumps forward, and loads from the packet. Such a load gives a
number in the packet's byte order; past the packet's end it ends the program, with 0. It leaves nothing in R1 to R5, and
finds the packet by R6, where the program puts what it gets in R1.
"""

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Sequence
from typing import NamedTuple

from pywg.runtime.base.libc import syscall

_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
"""Of bpf(2), by the machine's name in uname(2)."""
_PROG_LOAD = 5
_SOCKET_FILTER = 1
_LICENSE = b"MIT\0"
_LOAD = struct.Struct("=IIQQIIQII16s")
"""union bpf_attr for BPF_PROG_LOAD: type, number of instructions, their address, the license's, three of the verifier's
log, the kernel's version, flags, name."""
_INSTRUCTION = struct.Struct("=BBhI")


class Instruction(NamedTuple):
    """struct bpf_insn. A jump goes to the place in the listing that `to` names."""

    code: int
    target: int = 0
    source: int = 0
    number: int = 0
    to: str = ""


Listing = Sequence[Instruction | str]


def move(target: int, source: int) -> Instruction:
    """target = source; of registers, as all below but `_k`."""
    return Instruction(0xBF, target, source)


def move_k(target: int, number: int) -> Instruction:
    """target = number"""
    return Instruction(0xB7, target, number=number)


def move_wide(target: int, number: int) -> tuple[Instruction, Instruction]:
    """target = number, of 64 bits"""
    return Instruction(0x18, target, number=number & 0xFFFFFFFF), Instruction(0, number=number >> 32)


def multiply(target: int, source: int) -> Instruction:
    """target *= source"""
    return Instruction(0x2F, target, source)


def xor(target: int, source: int) -> Instruction:
    """target ^= source"""
    return Instruction(0xAF, target, source)


def and_k(target: int, number: int) -> Instruction:
    """target &= number"""
    return Instruction(0x57, target, number=number)


def shift_left_k(target: int, number: int) -> Instruction:
    """target <<= number"""
    return Instruction(0x67, target, number=number)


def shift_right_k(target: int, number: int) -> Instruction:
    """target >>= number"""
    return Instruction(0x77, target, number=number)


def load_byte(at: int) -> Instruction:
    """R0 = the packet's byte there"""
    return Instruction(0x30, number=at)


def load_half(at: int) -> Instruction:
    """R0 = the packet's two bytes there"""
    return Instruction(0x28, number=at)


def load_word(at: int) -> Instruction:
    """R0 = the packet's four bytes there"""
    return Instruction(0x20, number=at)


def load_word_at(source: int) -> Instruction:
    """R0 = the packet's four bytes where `source` says"""
    return Instruction(0x40, source=source)


def jump(to: str) -> Instruction:
    """To that place."""
    return Instruction(0x05, to=to)


def jump_equal_k(target: int, number: int, to: str) -> Instruction:
    """To that place if target == number."""
    return Instruction(0x15, target, number=number, to=to)


def jump_unequal_k(target: int, number: int, to: str) -> Instruction:
    """To that place if target != number."""
    return Instruction(0x55, target, number=number, to=to)


def jump_any_k(target: int, number: int, to: str) -> Instruction:
    """To that place if target & number."""
    return Instruction(0x45, target, number=number, to=to)


def end() -> Instruction:
    """Returns R0."""
    return Instruction(0x95)


def code(listing: Listing) -> bytes:
    """A program as the kernel takes it: an array of struct bpf_insn."""
    places: dict[str, int] = {}
    instructions: list[Instruction] = []
    for one in listing:
        if isinstance(one, str):
            places[one] = len(instructions)
        else:
            instructions.append(one)
    return b"".join(
        _INSTRUCTION.pack(one.code, _registers(one), places[one.to] - at if one.to else 0, one.number)
        for at, one in enumerate(instructions, 1)
    )


def _registers(one: Instruction) -> int:
    """Both in one byte, as bit-fields of C."""
    first, second = (one.target, one.source) if sys.byteorder == "little" else (one.source, one.target)
    return first | second << 4


def load_socket_filter(program: bytes, name: str) -> int:
    """A descriptor, the caller's, of a program that the kernel has checked.

    `name`, of up to 15 letters, digits, `_` and `.`, is what bpftool shows. Raises OSError: EPERM without CAP_BPF
    (before Linux 5.8: CAP_SYS_ADMIN) where kernel.unprivileged_bpf_disabled is not 0; ENOSYS without bpf(2).
    """
    text = ctypes.create_string_buffer(program, len(program))
    license_text = ctypes.create_string_buffer(_LICENSE, len(_LICENSE))
    count = len(program) // _INSTRUCTION.size
    addresses = ctypes.addressof(text), ctypes.addressof(license_text)
    attributes = _LOAD.pack(_SOCKET_FILTER, count, *addresses, 0, 0, 0, 0, 0, name.encode())
    return call(_PROG_LOAD, ctypes.create_string_buffer(attributes, len(attributes)))


def call(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    """bpf(2). Raises OSError, ENOSYS also where this module does not know the call's number."""
    number = _NUMBERS.get(os.uname().machine) if struct.calcsize("P") == 8 else None
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return syscall(number, command, attributes, len(attributes))
