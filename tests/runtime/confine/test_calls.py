"""Names and numbers of system calls, against the kernel's headers."""

import re
from pathlib import Path

import pytest

from pywg.runtime.confine import calls

X86_64 = [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")]
GENERIC = [Path("/usr/include/asm-generic/unistd.h")]


def _defined(headers: list[Path]) -> dict[str, int]:
    text = next((path.read_text() for path in headers if path.exists()), None)
    if text is None:
        pytest.skip("the kernel's headers are not installed")
    return {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\b", text)}


def test_numbers_of_x86_64() -> None:
    ours = calls.numbers(calls.X86_64)
    headers = _defined(X86_64)
    assert {name: ours.get(name) for name in headers} == headers


def test_numbers_of_aarch64() -> None:
    """Which has the generic ones, but for those of 32 bits and those that each machine has of its own."""
    ours = calls.numbers(calls.AARCH64)
    headers = {name: number for name, number in _defined(GENERIC).items() if not 403 <= number < 424}
    for name in ("arch_specific_syscall", "syscalls", "sync_file_range2", "riscv_flush_icache"):
        headers.pop(name, None)
    headers["newfstatat"] = headers.pop("fstatat")
    assert {name: ours.get(name) for name in headers} == headers


@pytest.mark.parametrize("machine", [calls.X86_64, calls.AARCH64])
def test_a_name_is_found_by_its_number(machine: tuple[calls.Run, ...]) -> None:
    for name, number in calls.numbers(machine).items():
        assert calls.name_of(number, machine) == name
    assert calls.name_of(423, machine) == "system call 423"
    assert calls.name_of(9999, machine) == "system call 9999"
    assert calls.name_of(-1, machine) == "system call -1"
