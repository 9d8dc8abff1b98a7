"""Names and numbers of system calls, against the kernel's headers."""

import re
import subprocess
from pathlib import Path

import pytest

from pywg.runtime.confine import bpf, calls, seccomp
from pywg.runtime.confine.seccomp import Thread

X86_64 = [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")]
AARCH64 = Path("/usr/aarch64-linux-gnu/include")

EVERYWHERE = 424
"""From this number on every machine has the same."""


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
    """By that machine's own headers, as its compiler would see them."""
    if not AARCH64.exists():
        pytest.skip("the kernel's headers for AArch64 are not installed")
    command = ["cc", "-E", "-dM", "-nostdinc", "-D__aarch64__", "-U__x86_64__", "-isystem", str(AARCH64), "-"]
    source = "#include <asm/unistd.h>\n"
    seen = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    defined: dict[str, str] = dict(re.findall(r"#define (__NR\w*?_\w+) (\w+)", seen))
    named = {name.removeprefix("__NR_"): defined.get(value, value) for name, value in defined.items()}
    headers = {name: int(number) for name, number in named.items() if not name.startswith("__") and number.isdigit()}
    for name in ("arch_specific_syscall", "syscalls"):  # where each machine has its own, and their end
        headers.pop(name, None)
    ours = calls.numbers(calls.AARCH64)
    assert len(headers) > 290
    assert {name: ours.get(name) for name in headers} == headers
    newer = set(ours) - set(headers)  # than these headers, and the same on every machine
    assert all(ours[name] == calls.numbers(calls.X86_64)[name] >= EVERYWHERE for name in newer)
    lists = [seccomp.allowed(kind, 1, bpf.MACHINES["aarch64"], musl=musl) for kind in Thread for musl in (False, True)]
    listed = {name for one in [*lists, seccomp.allowed_to_remover(1)] for name, _ in one}
    assert listed - set(headers) == {"stat", "lstat", "unlink", "time", "epoll_wait"}


@pytest.mark.parametrize("machine", [calls.X86_64, calls.AARCH64])
def test_a_name_is_found_by_its_number(machine: tuple[calls.Run, ...]) -> None:
    for name, number in calls.numbers(machine).items():
        assert calls.name_of(number, machine) == name
    assert calls.name_of(423, machine) == "system call 423"
    assert calls.name_of(9999, machine) == "system call 9999"
    assert calls.name_of(-1, machine) == "system call -1"
