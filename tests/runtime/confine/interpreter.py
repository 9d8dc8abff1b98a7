"""A filter's program, run by hand on one system call: classic BPF as linux/filter.h has it."""

import errno
import struct

from pywg.runtime.base import classic_bpf
from pywg.runtime.confine import bpf, calls, seccomp
from pywg.runtime.confine.seccomp import Thread

ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000  # linux/seccomp.h
PID = 4711


def number(machine: str, name: str) -> int | None:
    """Of a call; None: this machine has no such call."""
    return calls.numbers(bpf.MACHINES[machine].calls).get(name)


def verdict(
    machine: str,
    call: str | int,
    *arguments: int,
    on: Thread = Thread.LOOP,
    foreign: int = 0,
    musl: bool = False,
    groups: bool = False,
) -> int:
    """What the filter of a kind of thread returns for one call; `foreign`: by this architecture's convention."""
    of = bpf.MACHINES[machine]
    called = number(machine, call) if isinstance(call, str) else call
    assert called is not None
    program = bpf.program(of, seccomp.allowed(on, PID, of, musl=musl, groups=groups), refuse=REFUSE)
    return run(program, called, foreign or of.architecture, *arguments)


def run(program: list[classic_bpf.Instruction], called: int, architecture: int, *arguments: int) -> int:
    """What a program returns for a call by number."""
    data = struct.pack("=IIQ6Q", called, architecture, 0, *(*arguments, *[0] * 6)[:6])
    at = accumulator = 0
    while True:
        code, if_true, if_false, k = program[at]
        at += 1
        if code == 0x20:
            accumulator = struct.unpack_from("=I", data, k)[0]
        elif code == 0x54:
            accumulator &= k
        elif code == 0x15:
            at += if_true if accumulator == k else if_false
        elif code == 0x06:
            return k
        else:
            raise AssertionError(f"an instruction that was not expected: {code:#x}")
