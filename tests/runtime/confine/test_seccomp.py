"""The filter's program, run by hand: what passes on each architecture, and with which arguments."""

import errno
import platform
import re
import socket
import struct
from pathlib import Path
from threading import Timer
from typing import Any, TypeAlias

import pytest

from pywg.core.events import Endpoint
from pywg.runtime.base.binding import Binding
from pywg.runtime.confine import seccomp
from pywg.runtime.net.refusal import Refusals
from pywg.runtime.net.sockets import open_sockets

Machine: TypeAlias = tuple[int, int]
X86_64, AARCH64 = (0, 0xC000003E), (1, 0xC00000B7)  # linux/audit.h
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000  # linux/seccomp.h
PROT_READ_WRITE, PROT_EXEC = 3, 4
CLOEXEC_NONBLOCK = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
BPF_MAXINSNS = 4096
PACKAGE = Path(seccomp.__file__).parents[2]
PID = 4711


def verdict(machine: Machine, number: int, *arguments: int, architecture: int | None = None) -> int:
    """What the program of `machine` returns for one call: classic BPF as linux/filter.h has it."""
    column, own = machine
    data = struct.pack("=IIQ6Q", number, architecture or own, 0, *(*arguments, *[0] * 6)[:6])
    program = seccomp.program(column, own, PID)
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


# Numbers from asm/unistd_64.h and asm-generic/unistd.h.
@pytest.mark.parametrize(
    ("machine", "number"),
    [(X86_64, n) for n in (0, 1, 20, 7, 44, 299, 307, 202, 232, 281, 233, 288, 87, 318, 3, 231, 15)]
    + [(AARCH64, n) for n in (63, 64, 66, 73, 206, 243, 269, 98, 22, 21, 242, 35, 278, 57, 94, 139)],
)
def test_what_a_daemon_needs_passes(machine: Machine, number: int) -> None:
    assert verdict(machine, number) == ALLOW


FORBIDDEN = {
    "open": (2, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "clone": (56, 220),
    "clone3": (435, 435),
    "ptrace": (101, 117),
    "process_vm_writev": (311, 271),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "socketpair": (53, 199),
    "bpf": (321, 280),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "prctl": (157, 167),
    "setns": (308, 268),
    "unshare": (272, 97),
    "mount": (165, 40),
    "init_module": (175, 105),
    "memfd_create": (319, 279),
    "rename": (82, None),
    "renameat2": (316, 276),
    "chmod": (90, None),
    "capset": (126, 91),
    "pidfd_getfd": (438, 438),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_an_intruder_needs_does_not(name: str) -> None:
    for machine, number in zip((X86_64, AARCH64), FORBIDDEN[name], strict=True):
        assert number is None or verdict(machine, number) == REFUSE


@pytest.mark.parametrize(("machine", "mmap", "mprotect"), [(X86_64, 9, 10), (AARCH64, 222, 226)])
def test_no_memory_becomes_executable(machine: Machine, mmap: int, mprotect: int) -> None:
    for number in (mmap, mprotect):
        assert verdict(machine, number, 0, 4096, PROT_READ_WRITE) == ALLOW
        assert verdict(machine, number, 0, 4096, PROT_READ_WRITE | PROT_EXEC) == REFUSE


@pytest.mark.parametrize(("machine", "number"), [(X86_64, 41), (AARCH64, 198)])
def test_sockets(machine: Machine, number: int) -> None:
    datagram = socket.SOCK_DGRAM | CLOEXEC_NONBLOCK
    for family in (socket.AF_INET, socket.AF_INET6):
        assert verdict(machine, number, family, datagram, socket.IPPROTO_UDP) == ALLOW
        assert verdict(machine, number, family, socket.SOCK_STREAM, socket.IPPROTO_TCP) == REFUSE
        assert verdict(machine, number, family, socket.SOCK_RAW, socket.IPPROTO_UDP) == REFUSE
    assert verdict(machine, number, socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) == ALLOW
    netfilter = 12
    assert verdict(machine, number, socket.AF_NETLINK, socket.SOCK_RAW, netfilter) == REFUSE
    for family in (socket.AF_UNIX, socket.AF_PACKET, socket.AF_VSOCK):
        assert verdict(machine, number, family, socket.SOCK_DGRAM) == REFUSE


@pytest.mark.parametrize(("machine", "number"), [(X86_64, 16), (AARCH64, 29)])
def test_ioctls(machine: Machine, number: int) -> None:
    fionbio, tungetiff, tiocsti, tunsetiff = 0x5421, 0x800454D2, 0x5412, 0x400454CA
    assert verdict(machine, number, 3, fionbio) == ALLOW
    assert verdict(machine, number, 3, 0xFFFFFFFF00000000 | tungetiff) == ALLOW  # the kernel looks at 32 bits as well
    assert verdict(machine, number, 0, tiocsti) == REFUSE
    assert verdict(machine, number, 3, tunsetiff) == REFUSE


@pytest.mark.parametrize(("machine", "tgkill"), [(X86_64, 234), (AARCH64, 131)])
def test_signals_go_to_this_process_alone(machine: Machine, tgkill: int) -> None:
    assert verdict(machine, tgkill, PID, PID + 1, 6) == ALLOW
    assert verdict(machine, tgkill, PID + 1, PID + 1, 19) == REFUSE
    assert verdict(machine, tgkill, 0xFFFFFFFF, PID, 19) == REFUSE


@pytest.mark.parametrize(("machine", "fcntl"), [(X86_64, 72), (AARCH64, 25)])
def test_no_descriptor_is_made_to_send_signals(machine: Machine, fcntl: int) -> None:
    f_getfl, f_setfl, f_setown, f_setsig, f_setown_ex = 3, 4, 8, 10, 15
    assert {verdict(machine, fcntl, 3, command) for command in (f_getfl, f_setfl)} == {ALLOW}
    assert {verdict(machine, fcntl, 3, command) for command in (f_setown, f_setsig, f_setown_ex)} == {REFUSE}


@pytest.mark.parametrize(("machine", "setsockopt", "getsockopt"), [(X86_64, 54, 55), (AARCH64, 208, 209)])
def test_no_firewall_and_no_filter_by_socket_options(machine: Machine, setsockopt: int, getsockopt: int) -> None:
    ipv6_recvtclass = 66
    for level in (socket.IPPROTO_IP, socket.IPPROTO_IPV6):
        for option in range(64, 96):
            if (level, option) != (socket.IPPROTO_IPV6, ipv6_recvtclass):
                assert verdict(machine, setsockopt, 3, level, option) == REFUSE
            assert verdict(machine, getsockopt, 3, level, option) == REFUSE
    attach_filter, attach_bpf, reuseport_cbpf, reuseport_ebpf = 26, 50, 51, 52
    for option in (attach_filter, attach_bpf, reuseport_cbpf, reuseport_ebpf):
        assert verdict(machine, setsockopt, 3, socket.SOL_SOCKET, option) == REFUSE


@pytest.mark.parametrize("binding", [Binding(), Binding(device="lo")])
@pytest.mark.parametrize(("machine", "setsockopt", "getsockopt"), [(X86_64, 54, 55), (AARCH64, 208, 209)])
def test_every_option_of_new_udp_sockets_passes(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, setsockopt: int, getsockopt: int, binding: Binding
) -> None:
    class Recorded(socket.socket):
        def setsockopt(self, level: int, option: int, *value: Any) -> None:
            made.append((setsockopt, level, option))
            if option != socket.SO_BINDTODEVICE:  # asks for a privilege on old kernels
                super().setsockopt(level, option, *value)

        def getsockopt(self, level: int, option: int, *length: Any) -> Any:
            made.append((getsockopt, level, option))
            return super().getsockopt(level, option, *length)

    def new_socket(family: socket.AddressFamily) -> socket.socket:
        return Recorded(family, socket.SOCK_DGRAM, socket.IPPROTO_UDP)

    made: list[tuple[int, int, int]] = []
    monkeypatch.setattr(
        "pywg.runtime.net.sockets._mark", lambda sock, mark: Recorded.setsockopt(sock, 1, socket.SO_MARK, 0)
    )
    sockets = open_sockets(0, 7, binding=binding, factory=new_socket)
    assert isinstance(sockets.udp_gro, bool)
    sockets.close()
    assert len(made) > 10
    assert {call: verdict(machine, call[0], 3, *call[1:]) for call in made} == dict.fromkeys(made, ALLOW)


# What each call that is allowed outright looks like where this code makes it; libc's name, where it is another.
BY_DATA_PLANE = {name: rf"\b{name}\(" for name in seccomp._DATA_PLANE} | {
    "read": r"\beventfd_read\(",
    "write": r"\beventfd_write\(",
    "ppoll": r"\bpoll\(",  # where there is no poll(2)
}
STAT, UNLINK = r"os\.lstat\(", r"os\.unlink\("
BY_CONTROL_PLANE = {
    "recvfrom": r"_socket\.recv\(",
    "accept4": r"\.sock_accept\(",
    "bind": r"sock\.bind\(",
    "connect": r"sock\.connect\(",
    "close": r"os\.close\(",
    "getsockname": r"\.getsockname\(",
    "fstat": r"os\.fstat\(",
    **dict.fromkeys(("stat", "lstat", "newfstatat"), STAT),
    **dict.fromkeys(("unlink", "unlinkat"), UNLINK),
    "timerfd_settime": r"\.timerfd_settime\(",
    "getrandom": r"\bos\.urandom\b",
    "uname": r"os\.uname\(",
}
BY_CONTROL_PLANE_WITH_ARGUMENTS = {
    "ioctl": r"fcntl\.ioctl\(",
    "getsockopt": r"\.getsockopt\(",
    "setsockopt": r"\.setsockopt\(",
    "socket": r"socket\.socket\(",
}


def _text(folder: str, *kinds: str) -> str:
    paths = (path for kind in kinds for path in (PACKAGE / folder).rglob(f"*.{kind}"))
    # Declared is not called, and the filter does not call.
    return "\n".join(path.read_text() for path in paths if path.name not in ("linux.pxd", "seccomp.py"))


def test_every_call_has_a_caller() -> None:
    """Those of Python, its loop and libc aside, which are typed again here: no other is on the list."""
    for table, patterns, text in (
        (seccomp._DATA_PLANE, BY_DATA_PLANE, _text("dataplane", "pyx", "pxd")),
        (seccomp._CONTROL_PLANE, BY_CONTROL_PLANE, _text("runtime", "py")),
        ({}, BY_CONTROL_PLANE_WITH_ARGUMENTS, _text("runtime", "py")),
    ):
        assert table.keys() <= patterns.keys()
        assert [name for name, pattern in patterns.items() if not re.search(pattern, text)] == []
    assert not re.search(r"\breadv\(", _text("dataplane", "pyx", "pxd")), "what isn't called isn't found"
    loop = {"epoll_ctl", "epoll_pwait", "epoll_wait"}
    threads = {"exit", "futex", "gettid", "rseq", "sched_yield", "set_robust_list"}
    signals = {"getpid", "restart_syscall", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn"}
    clocks = {"clock_gettime", "clock_nanosleep", "gettimeofday", "nanosleep", "time"}
    assert seccomp._RUNTIME.keys() <= loop | threads | signals | clocks | {"brk", "exit_group", "mremap"}


def test_every_option_is_set_by_a_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """By new sockets of the device, or by one that asks why an endpoint doesn't answer."""
    made: set[tuple[int, int]] = set()

    class Recorded(socket.socket):
        def setsockopt(self, level: int, option: int, *_value: object) -> None:
            made.add((level, option))
            if (level, option) == (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
                super().setsockopt(level, option, 1)

    def new_socket(family: socket.AddressFamily) -> socket.socket:
        return Recorded(family, socket.SOCK_DGRAM, socket.IPPROTO_UDP)

    monkeypatch.setattr("pywg.runtime.net.refusal.new_socket", new_socket)
    binding = Binding(device="lo")
    open_sockets(0, 7, binding=binding, factory=new_socket).close()
    refusals = Refusals(lambda _seconds, _callback: Timer(0, print), binding=binding)
    for ip in (socket.inet_aton("127.0.0.1"), socket.inet_pton(socket.AF_INET6, "::1")):
        refusals.ask(Endpoint(ip, 9), 7, lambda _code: None)
    refusals.close()
    assert made == set(seccomp._OPTIONS)


def test_another_architecture_kills() -> None:
    i386 = 0x40000003
    assert verdict(X86_64, 0, architecture=i386) == KILL
    assert verdict(X86_64, 0, architecture=AARCH64[1]) == KILL


def test_the_x32_convention_is_refused() -> None:
    assert verdict(X86_64, 0x40000000) == REFUSE


@pytest.mark.parametrize("machine", [X86_64, AARCH64])
def test_every_jump_ends_in_the_program(machine: Machine) -> None:
    program = seccomp.program(*machine, PID)
    assert len(program) <= BPF_MAXINSNS
    for at, (code, if_true, if_false, _) in enumerate(program):
        assert max(if_true, if_false) <= 255
        assert at + 1 + max(if_true, if_false) < len(program) or code == 0x06


def test_numbers_are_this_kernels() -> None:
    headers = [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")]
    header = next((path for path in headers if path.exists()), None)
    if platform.machine() != "x86_64" or header is None:
        pytest.skip("the kernel's headers for x86-64 are not installed")
    defined = dict(re.findall(r"#define __NR_(\w+)\s+(\d+)", header.read_text()))
    ours = {**seccomp._ALWAYS, **{name: numbers for name, (numbers, _) in seccomp._SOMETIMES.items()}}
    assert {name: str(numbers[0]) for name, numbers in ours.items()} == {name: defined.get(name) for name in ours}


def test_a_thread_that_starts_late_starts() -> None:
    """glibc ends the process when a new thread's rseq is refused: a busy machine may run it after the filter is on."""
    assert {"rseq", "set_robust_list", "rt_sigprocmask"} <= seccomp._ALWAYS.keys()
