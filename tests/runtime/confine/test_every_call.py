"""Every system call there is, tried from inside every kind of thread of a daemon: what docs/security.md says passes,
and nothing else; beside it, threads of a daemon without the sandbox. dropin: 21."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from pywg.runtime.confine import bpf, calls, seccomp
from pywg.runtime.confine.seccomp import Thread
from tests.requirements import require_root
from tests.runtime.daemon.test_service import DIRECTORY, Foreground, answers, ask, gone, until
from tests.runtime.daemon.test_users import confined_remover_of
from tests.runtime.namespace import ip, run_inside, unique
from tests.runtime.syscall_injection import Inside, inside, thread_of

pytestmark = [pytest.mark.netns, pytest.mark.dropin("21")]

PAGE = Path(__file__).parents[3] / "docs" / "security.md"
X86_64 = bpf.MACHINES["x86_64"]
NUMBERS = calls.numbers(X86_64.calls)
LAST = 511
"""Past the last number of any kernel."""
X32 = [0x40000000 + NUMBERS[name] for name in ("read", "getpid", "execve")]
PLANE = {Thread.SENDER: "pywg-tx", Thread.RECEIVER: "pywg-rx", Thread.HELPER: "pywg-h0"}
NOTHING = 0xFFFFFFFFFFFFFFFF
"""As each argument: no descriptor, no address, no process, no flags that any call takes."""
ENDS = {"exit", "exit_group"}
NO_STACK = {"rt_sigreturn": 16}
"""Which read the stack; there, at this address, is none."""
UNFILTERED = {"uretprobe", "uprobe"}
"""Calls of the kernel's own tracing, which new kernels let pass any filter. From elsewhere they raise SIGILL."""
HARMFUL = ENDS | {"fork", "vfork", "clone", "clone3", "pause", "restart_syscall", "vhangup", "sync", "setsid"}
HARMFUL |= {"munlockall", "set_tid_address", "umask", "alarm", "reboot"}
"""Which do something without a good argument."""


def _rows() -> list[list[str]]:
    """Of the table: the calls, what the four kinds of thread have of them, and what for."""
    lines = PAGE.read_text().partition("\n## The sandbox, by thread\n")[2].partition("\n## ")[0].splitlines()
    table = [line.strip("| ").split(" | ") for line in lines if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in table if len(row) == 6]


def _table(on: Thread) -> tuple[set[str], set[str]]:
    """Calls that the page says this thread may make, always and with some arguments."""
    having: dict[str, set[str]] = {"yes": set(), "some": set(), "": set(), "·": set()}
    for row in _rows():
        having[row[1 + on]] |= set(re.findall(r"`(\w+)`", row[0]))
    return having["yes"], having["some"]


def _listed(on: Thread, machine: str = "x86_64") -> tuple[set[str], set[str]]:
    of = bpf.MACHINES[machine]
    listed = seccomp.allowed(on, 1, of, musl=False)
    known = calls.numbers(of.calls)
    always = {name for name, alternatives in listed if alternatives == [()] and name in known}
    return always, {name for name, alternatives in listed if alternatives != [()]}


@pytest.mark.parametrize("on", Thread)
def test_the_page_says_what_the_lists_say(on: Thread) -> None:
    assert _table(on) == _listed(on)
    assert len(_table(on)[0]) >= 10


def test_the_page_says_where_aarch64_and_musl_differ() -> None:
    """AArch64 has ppoll for poll, and no second names for stat, unlink and the like."""
    always, some = _table(Thread.LOOP)
    without = {"stat", "lstat", "unlink", "time", "epoll_wait"}
    assert _listed(Thread.LOOP, "aarch64") == (always - {"poll"} - without | {"ppoll"}, some)
    text = PAGE.read_text()
    assert all(f"`{name}`" in text for name in ("ppoll", "sendmsg"))


def _refused(thread: Inside, numbers: Iterable[int]) -> set[int]:
    """Of these calls, with arguments that are good for nothing, those that raise SIGSYS. Each of them is EPERM."""
    found = set()
    for number in numbers:
        result = thread.call(number, *[NOTHING] * 6, stack=NO_STACK.get(calls.name_of(number, X86_64.calls)))
        if thread.refused:
            assert result == "EPERM"
            found.add(number)
    return found


def _names(numbers: Iterable[int]) -> set[str]:
    return {calls.name_of(number, X86_64.calls) for number in numbers}


def _limited(thread: Inside, on: Thread, pid: int) -> dict[str, list[bool]]:
    """Whether each alternative of the calls with some arguments passes."""
    found: dict[str, list[bool]] = {}
    for name, alternatives in seccomp.allowed(on, pid, X86_64, musl=False):
        for tests in alternatives if alternatives != [()] else []:
            arguments = [NOTHING] * 6
            for test in tests:
                arguments[test.argument] = test.value
            thread.call(NUMBERS[name], *arguments)
            found.setdefault(name, []).append(not thread.refused)
    return found


def _stat(name: str, key: str) -> int:
    (value,) = re.findall(rf"^{key}=(-?\d+)$".encode(), ask(name, b"stats=1\n\n"), re.M)
    return int(value)


def test_from_inside_each_kind_of_thread() -> None:
    require_root()
    name = unique("pywgt")
    tried = [*range(LAST + 1), *X32]
    ends = {NUMBERS[end] for end in ENDS}

    def test() -> None:
        counted = 0
        with Foreground(name, PYWG_THREADS="3") as daemon:
            until(lambda: answers(name))
            until(lambda: b"sandbox_seccomp=1\n" in ask(name, b"stats=1\n\n"))
            pid = daemon.process.pid
            threads = {Thread.LOOP: pid, **{on: thread_of(pid, called) for on, called in PLANE.items()}}
            for on, tid in threads.items():
                always, some = _table(on)
                with inside(tid) as thread:
                    refused = _refused(thread, [number for number in tried if number not in ends])
                    limited = _limited(thread, on, pid)
                assert _names(set(tried) - refused - ends) - UNFILTERED == always - ENDS
                assert limited.keys() == some
                assert {outcome for outcomes in limited.values() for outcome in outcomes} == {True}
                counted += len(refused)
                assert _stat(name, "sandbox_refused") == counted
                assert _stat(name, "sandbox_refused_last") == X32[-1]
                assert _stat(name, f"sandbox_refused_{on.name.lower()}") == len(refused)
                assert _stat(name, f"sandbox_refused_{on.name.lower()}_last") == X32[-1]
            for on, tid in reversed(threads.items()):
                refused_end, end = sorted(ENDS, key=lambda one: one in _table(on)[0])
                with inside(tid) as thread:
                    assert _refused(thread, [NUMBERS[refused_end]]) == {NUMBERS[refused_end]}
                    assert thread.ends(NUMBERS[end])
            assert daemon.exit_status() == 255  # by the last one, the event loop's
            told = daemon.stderr.read().decode()
        assert "sandbox: the event loop was refused" in told

    run_inside(test)


def test_from_inside_the_process_that_removes_the_sockets() -> None:
    """It is refused all but its own few calls, each with EPERM, which of the others none gives for these arguments."""
    require_root()
    name = unique("pywgt")
    listed = dict(seccomp.allowed_to_remover(1))
    page = PAGE.read_text().partition("`pywg-remover`")[2].partition("\n- ")[0]

    def test() -> None:
        with Foreground(name, PYWG_USER="nobody") as daemon:
            until(lambda: answers(name))
            remover = confined_remover_of(daemon.process.pid)
            assert os.path.samefile(f"/proc/{remover}/root", DIRECTORY)
            waits = int(Path(f"/proc/{remover}/syscall").read_text().split()[1], 16)
            tried = [number for number in [*range(LAST + 1), *X32] if number != NUMBERS["exit_group"]]
            with inside(remover) as thread:
                passed = {number for number in tried if thread.call(number, *[NOTHING] * 6, stack=16) != "EPERM"}
                assert thread.call(NUMBERS["read"], waits, thread.room, 0) == "0"
                assert thread.call(NUMBERS["mmap"], 0, 4096, 3, 0x22, NOTHING).isdigit()
            assert _names(passed) - UNFILTERED == listed.keys() - {"exit_group", "read", "mmap"}
            daemon.process.terminate()
            assert daemon.exit_status() == 0
            until(lambda: gone(name))

    run_inside(test)
    assert set(re.findall(r"`(\w+)`", page)) >= listed.keys()


@pytest.mark.parametrize("thread_name", ["pywg-rx", "pywg-h0"])
def test_without_the_sandbox_no_call_is_refused(thread_name: str) -> None:
    require_root()
    name = unique("pywgt")
    harmful = {NUMBERS[one] for one in HARMFUL}

    def test() -> None:
        with Foreground(name, PYWG_THREADS="3", PYWG_SANDBOX="0") as daemon:
            until(lambda: answers(name))
            with inside(thread_of(daemon.process.pid, thread_name)) as thread:
                assert _refused(thread, [number for number in range(LAST + 1) if number not in harmful]) == set()
                assert thread.call(NUMBERS["openat"], -100, thread.put(b"/etc/passwd\0"), 0).isdigit()
            assert answers(name)
            assert _stat(name, "sandbox_refused") == 0

    run_inside(test)


def test_a_refused_call_changes_nothing_but_the_count() -> None:
    """The thread goes on, by itself and without a tracer, and the log has one line."""
    require_root()
    name = unique("pywgt")

    def test() -> None:
        with Foreground(name) as daemon:
            until(lambda: answers(name))
            until(lambda: b"sandbox_seccomp=1\n" in ask(name, b"stats=1\n\n"))
            assert (_stat(name, "sandbox_refused"), _stat(name, "sandbox_refused_last")) == (0, -1)
            with inside(thread_of(daemon.process.pid, "pywg-rx")) as thread:
                thread.leave_with(NUMBERS["openat"], NOTHING, NOTHING)
            until(lambda: _stat(name, "sandbox_refused") == 1)
            assert _stat(name, "sandbox_refused_last") == NUMBERS["openat"]
            ip("link", "set", name, "up")
            until(lambda: b"sockets_open=1\n" in ask(name, b"stats=1\n\n"))
            daemon.process.terminate()
            assert daemon.exit_status() == 0
            (line,) = daemon.stderr.read().decode().splitlines()
        assert line.startswith(f"ERROR: ({name}) ")
        assert "sandbox: pywg-rx was refused openat (257)" in line

    run_inside(test)
