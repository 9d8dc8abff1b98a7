"""The addresses that a call uses, instruction by instruction: its registers before each, and the operands by objdump.

What valgrind does not know, as AVX-512, is seen as well. An operand whose address a vector has (a gather) is refused.
What a division divides counts as an address, as its time depends on that.
"""

import ctypes
import re
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.native import steps
from tests.requirements import require_tool

_SLOT = 32
_LONGEST = 15
"""Bytes of an instruction. What objdump makes of the bytes after it ends before the next slot."""
_NOP = b"\x90"
_LINE = re.compile(r"\s*([0-9a-f]+):\t[^\t]*\t([^#]*)")
_OPERAND = re.compile(r"\((?:%(\w+))?(?:,%(\w+),\d)?\)")
_WHOLE = {name.replace("r", "e", 1) if name[1].isalpha() else f"{name}d": name for name in steps.REGISTERS}
_WORDS = len(steps.REGISTERS)


def executed(call: Callable[[], object], code: list[tuple[int, int]]) -> list[tuple[int, ...]]:
    """The registers before each instruction, as in steps.REGISTERS."""
    return list(struct.iter_unpack(f"={_WORDS}Q", steps.trace(call, code, registers=True)))


def instructions(places: set[int]) -> dict[int, str]:
    """What stands at these addresses of this process, in objdump's words."""
    objdump = require_tool("objdump")
    order = sorted(places)
    slots = [ctypes.string_at(at, _LONGEST).ljust(_SLOT, _NOP) for at in order]
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "code"
        file.write_bytes(b"".join(slots))
        command = [objdump, "-D", "-b", "binary", "-m", "i386:x86-64", str(file)]
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [found for found in map(_LINE.match, listed.splitlines()) if found]
    words = {int(found[1], 16): found[2].strip() for found in lines}
    return {at: words[number * _SLOT] for number, at in enumerate(order)}


def _used(text: str) -> list[int]:
    """The numbers of the registers that an instruction's time may depend on: those of its addresses, and of a division.

    The stack's is always among them.
    """
    names = {"rsp"}
    if re.match(r"i?div", text):
        names |= {"rax", "rdx", *(_WHOLE.get(name, name) for name in re.findall(r"%(\w+)", text))}
    elif not re.match(r"lea|nop", text):  # these only look as if they had an address
        assert not re.match("xlat", text), f"{text}: an address of half a register"
        names |= {name for operand in _OPERAND.findall(text) for name in operand if name not in ("", "rip")}
    assert names <= set(steps.REGISTERS), f"{text}: an address of more than one, or of half a register"
    return sorted(map(steps.REGISTERS.index, names))


def first_difference(one: list[tuple[int, ...]], other: list[tuple[int, ...]]) -> str:
    """The first instruction that is another, or whose addresses are; empty: there is none."""
    words = instructions({step[-1] for step in one})
    used = {at: _used(text) for at, text in words.items()}
    for before, after in zip(one, other, strict=False):
        at = before[-1]
        if after[-1] != at:
            return f"another instruction: {words[at]}"
        if any(before[number] != after[number] for number in used[at]):
            return f"another address: {words[at]}"
    return "" if len(one) == len(other) else "another number of instructions"
