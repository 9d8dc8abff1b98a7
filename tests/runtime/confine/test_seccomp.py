"""The filters' programs, run by hand: what passes on each architecture, in which thread, and with which arguments."""

import re
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from pywg.core.events import Endpoint
from pywg.runtime.base import parcel
from pywg.runtime.base.binding import Binding
from pywg.runtime.confine import bpf, seccomp
from pywg.runtime.confine.seccomp import Thread
from pywg.runtime.net.refusal import Refusals
from pywg.runtime.net.sockets import open_sockets
from tests.requirements import require_tool
from tests.runtime.confine.interpreter import ALLOW, KILL, PID, REFUSE, number, run, verdict

X86_64, AARCH64 = "x86_64", "aarch64"
MACHINES = (X86_64, AARCH64)
PLANE = (Thread.SENDER, Thread.RECEIVER, Thread.HELPER)
PROT_READ_WRITE, PROT_EXEC = 3, 4
MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE = 1, 2, 0x20, 0x4000
CLOEXEC_NONBLOCK = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
BPF_MAXINSNS = 4096
PACKAGE = Path(seccomp.__file__).parents[2]


# Numbers from asm/unistd_64.h and asm-generic/unistd.h.
@pytest.mark.parametrize(
    ("machine", "called"),
    [(X86_64, n) for n in (0, 1, 20, 7, 44, 307, 232, 281, 233, 288, 87, 318, 3, 231, 15)]
    + [(AARCH64, n) for n in (63, 64, 66, 73, 206, 269, 22, 21, 242, 35, 278, 57, 94, 139)],
)
def test_what_an_event_loop_needs_passes(machine: str, called: int) -> None:
    assert verdict(machine, called) == ALLOW


NEEDS = {
    Thread.SENDER: ("read", "write", "sendmmsg", "sendto", "restart_syscall", "clock_gettime", "rt_sigreturn"),
    Thread.RECEIVER: ("read", "write", "writev", "recvmmsg", "sendmmsg", "sendto", "getrandom", "getpid", "exit"),
    Thread.HELPER: ("write", "writev", "sendmmsg", "rt_sigprocmask", "rt_sigreturn", "exit"),
}
LACKS = {
    Thread.SENDER: ("recvmmsg", "getrandom"),
    Thread.RECEIVER: ("recvfrom",),
    Thread.HELPER: ("read", "recvmmsg", "sendto", "getrandom", "restart_syscall", "clock_nanosleep"),
}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("on", PLANE)
def test_a_thread_of_the_data_plane_has_what_it_needs_and_less_than_the_loop(machine: str, on: Thread) -> None:
    assert {name: verdict(machine, name, on=on) for name in NEEDS[on]} == dict.fromkeys(NEEDS[on], ALLOW)
    assert {name: verdict(machine, name, on=on) for name in LACKS[on]} == dict.fromkeys(LACKS[on], REFUSE)
    for name in ("accept4", "connect", "bind", "close", "epoll_ctl", "unlinkat", "rt_sigaction", "exit_group", "fstat"):
        assert (verdict(machine, name), verdict(machine, name, on=on)) == (ALLOW, REFUSE)
    limited = {"fcntl": (3, 3), "ioctl": (3, 0x5421), "socket": (2, 2, 17), "setsockopt": (3, 1, 8)}
    for name, arguments in limited.items():
        assert (verdict(machine, name, *arguments), verdict(machine, name, *arguments, on=on)) == (ALLOW, REFUSE)
    assert verdict(machine, "recvmmsg") == verdict(machine, "rseq") == verdict(machine, "exit") == REFUSE


@pytest.mark.parametrize("on", Thread)
def test_what_counts_refusals_is_never_refused(on: Thread) -> None:
    """The kernel would end the process: the handler runs with SIGSYS blocked."""
    for machine in MACHINES:
        assert verdict(machine, "write", on=on) == verdict(machine, "rt_sigreturn", on=on) == ALLOW


@pytest.mark.parametrize("on", Thread)
def test_libc_decides_how_messages_are_sent(on: Thread) -> None:
    for machine in MACHINES:
        passes_on = ALLOW if on is Thread.LOOP else REFUSE  # descriptors, to the daemon that takes over
        assert (verdict(machine, "sendmmsg", on=on), verdict(machine, "sendmsg", on=on)) == (ALLOW, passes_on)
        assert verdict(machine, "sendmmsg", on=on, musl=True) == REFUSE
        assert verdict(machine, "sendmsg", on=on, musl=True) == ALLOW


FORBIDDEN = """
open openat openat2 creat execve execveat fork vfork clone clone3 ptrace process_vm_readv process_vm_writev kill
tkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal socketpair bpf io_uring_setup io_uring_enter prctl setns
unshare mount init_module memfd_secret rename renameat2 chmod capset pidfd_getfd userfaultfd perf_event_open keyctl
chroot pivot_root landlock_restrict_self seccomp process_madvise arch_prctl pwritev recvmsg readv pwritev2 splice
vmsplice
"""


@pytest.mark.parametrize("name", FORBIDDEN.split())
def test_what_an_intruder_needs_does_not(name: str) -> None:
    assert number(X86_64, name) is not None
    for machine in MACHINES:
        if number(machine, name) is not None:
            assert {verdict(machine, name, on=on) for on in Thread} == {REFUSE}


def test_the_loop_alone_makes_a_parcel_and_passes_it_on() -> None:
    """For handover.py: memory that can be sealed and never inherited, and descriptors."""
    for machine in MACHINES:
        for on in Thread:
            allowed = ALLOW if on is Thread.LOOP else REFUSE
            assert verdict(machine, "memfd_create", 0, parcel.MEMFD_FLAGS, on=on) == allowed
            assert verdict(machine, "pwrite64", on=on) == allowed
            for flags in (0, 1, 2, parcel.MEMFD_FLAGS | 4, parcel.MEMFD_FLAGS | 0x10):
                assert verdict(machine, "memfd_create", 0, flags, on=on) == REFUSE


@pytest.mark.parametrize("on", Thread)
@pytest.mark.parametrize("machine", MACHINES)
def test_memory_is_its_own_and_never_executable(machine: str, on: Thread) -> None:
    own = MAP_PRIVATE | MAP_ANONYMOUS
    for protection, result in ((PROT_READ_WRITE, ALLOW), (0, ALLOW), (PROT_READ_WRITE | PROT_EXEC, REFUSE)):
        assert verdict(machine, "mmap", 0, 4096, protection, own, -1 & 0xFFFFFFFF, on=on) == result
        assert verdict(machine, "mprotect", 0, 4096, protection, on=on) == result
    assert verdict(machine, "mmap", 0, 1 << 26, 0, own | MAP_NORESERVE, on=on) == ALLOW
    for kind in (MAP_PRIVATE, MAP_SHARED, MAP_SHARED | MAP_ANONYMOUS):
        assert verdict(machine, "mmap", 0, 4096, PROT_READ_WRITE, kind, 3, on=on) == REFUSE


@pytest.mark.parametrize("on", Thread)
@pytest.mark.parametrize("machine", MACHINES)
def test_no_advice_shows_keys_to_dumps_and_children(machine: str, on: Thread) -> None:
    dontneed, free, dontdump, wipeonfork = 4, 8, 16, 18
    remove, dontfork, dodump, keeponfork, hwpoison = 9, 10, 17, 19, 100
    for advice in (dontneed, free):
        assert verdict(machine, "madvise", 0, 4096, advice, on=on) == ALLOW
    for advice in (dontdump, wipeonfork):
        assert verdict(machine, "madvise", 0, 4096, advice, on=on) == (ALLOW if on is Thread.LOOP else REFUSE)
    for advice in (remove, dontfork, dodump, keeponfork, hwpoison):
        assert verdict(machine, "madvise", 0, 4096, advice, on=on) == REFUSE


@pytest.mark.parametrize("on", Thread)
@pytest.mark.parametrize("machine", MACHINES)
def test_locks_are_waited_for_and_no_more(machine: str, on: Thread) -> None:
    wait, wake, requeue, wait_bitset, private, realtime = 0, 1, 3, 9, 128, 256
    for operation in (wait, wake, requeue, wait_bitset):
        for flags in (0, private, private | realtime):
            assert verdict(machine, "futex", 0, operation | flags, on=on) == ALLOW
    fd, cmp_requeue, wake_op, lock_pi, wait_requeue_pi, cmp_requeue_pi, lock_pi2 = 2, 4, 5, 6, 11, 12, 13
    for operation in (fd, cmp_requeue, wake_op, lock_pi, wait_requeue_pi, cmp_requeue_pi, lock_pi2):
        assert verdict(machine, "futex", 0, operation | private, on=on) == REFUSE


@pytest.mark.parametrize("machine", MACHINES)
def test_sockets(machine: str) -> None:
    datagram = socket.SOCK_DGRAM | CLOEXEC_NONBLOCK
    for family in (socket.AF_INET, socket.AF_INET6):
        assert verdict(machine, "socket", family, datagram, socket.IPPROTO_UDP) == ALLOW
        assert verdict(machine, "socket", family, socket.SOCK_STREAM, socket.IPPROTO_TCP) == REFUSE
        assert verdict(machine, "socket", family, socket.SOCK_RAW, socket.IPPROTO_UDP) == REFUSE
    assert verdict(machine, "socket", socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) == ALLOW
    netfilter = 12
    assert verdict(machine, "socket", socket.AF_NETLINK, socket.SOCK_RAW, netfilter) == REFUSE
    for family in (socket.AF_UNIX, socket.AF_PACKET, socket.AF_VSOCK):
        assert verdict(machine, "socket", family, socket.SOCK_DGRAM) == REFUSE


@pytest.mark.parametrize("machine", MACHINES)
def test_ioctls(machine: str) -> None:
    fionbio, tungetiff, tiocsti, tunsetiff = 0x5421, 0x800454D2, 0x5412, 0x400454CA
    assert verdict(machine, "ioctl", 3, fionbio) == ALLOW
    assert verdict(machine, "ioctl", 3, 0xFFFFFFFF00000000 | tungetiff) == ALLOW  # the kernel looks at 32 bits as well
    assert verdict(machine, "ioctl", 0, tiocsti) == REFUSE
    assert verdict(machine, "ioctl", 3, tunsetiff) == REFUSE


@pytest.mark.parametrize("on", Thread)
@pytest.mark.parametrize("machine", MACHINES)
def test_a_signal_only_ends_this_process(machine: str, on: Thread) -> None:
    abort, stop = 6, 19
    assert verdict(machine, "tgkill", PID, PID + 1, abort, on=on) == ALLOW
    assert verdict(machine, "tgkill", PID, PID + 1, stop, on=on) == REFUSE
    assert verdict(machine, "tgkill", PID + 1, PID + 1, abort, on=on) == REFUSE
    assert verdict(machine, "tgkill", 0xFFFFFFFF, PID, abort, on=on) == REFUSE


@pytest.mark.parametrize("machine", MACHINES)
def test_no_descriptor_is_made_to_send_signals(machine: str) -> None:
    f_getfl, f_setfl, f_setown, f_setsig, f_setown_ex = 3, 4, 8, 10, 15
    assert {verdict(machine, "fcntl", 3, command) for command in (f_getfl, f_setfl)} == {ALLOW}
    assert {verdict(machine, "fcntl", 3, command) for command in (f_setown, f_setsig, f_setown_ex)} == {REFUSE}


@pytest.mark.parametrize("machine", MACHINES)
def test_no_firewall_and_no_filter_by_socket_options(machine: str) -> None:
    ipv6_recvtclass = 66
    for level in (socket.IPPROTO_IP, socket.IPPROTO_IPV6):
        for option in range(64, 96):
            if (level, option) != (socket.IPPROTO_IPV6, ipv6_recvtclass):
                assert verdict(machine, "setsockopt", 3, level, option) == REFUSE
            assert verdict(machine, "getsockopt", 3, level, option) == REFUSE
    attach_filter, attach_bpf, reuseport_cbpf, reuseport_ebpf = 26, 50, 51, 52
    for option in (attach_filter, attach_bpf, reuseport_cbpf, reuseport_ebpf):
        assert verdict(machine, "setsockopt", 3, socket.SOL_SOCKET, option) == REFUSE
        for_groups = verdict(machine, "setsockopt", 3, socket.SOL_SOCKET, option, groups=True)
        assert for_groups == (ALLOW if option == reuseport_cbpf else REFUSE)


@pytest.mark.parametrize("on", PLANE)
def test_groups_of_sockets_are_the_loops_affair(on: Thread) -> None:
    of = bpf.MACHINES[X86_64]
    with_groups = [seccomp.allowed(one, PID, of, musl=False, groups=True) for one in (on, Thread.LOOP)]
    without = [seccomp.allowed(one, PID, of, musl=False) for one in (on, Thread.LOOP)]
    assert with_groups[0] == without[0]
    assert with_groups[1] != without[1]


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("binding", [Binding(), Binding(device="lo")])
@pytest.mark.parametrize("machine", MACHINES)
def test_every_option_of_new_udp_sockets_passes(
    monkeypatch: pytest.MonkeyPatch, machine: str, binding: Binding, shards: int
) -> None:
    class Recorded(socket.socket):
        def setsockopt(self, level: int, option: int, *value: Any) -> None:
            made.append(("setsockopt", level, option))
            if option != socket.SO_BINDTODEVICE:  # asks for a privilege on old kernels
                super().setsockopt(level, option, *value)

        def getsockopt(self, level: int, option: int, *length: Any) -> Any:
            made.append(("getsockopt", level, option))
            return super().getsockopt(level, option, *length)

    def new_socket(family: socket.AddressFamily) -> socket.socket:
        return Recorded(family, socket.SOCK_DGRAM, socket.IPPROTO_UDP)

    made: list[tuple[str, int, int]] = []
    monkeypatch.setattr(
        "pywg.runtime.net.sockets._mark", lambda sock, mark: Recorded.setsockopt(sock, 1, socket.SO_MARK, 0)
    )
    sockets = open_sockets(0, 7, binding=binding, shards=shards, factory=new_socket)
    assert isinstance(sockets.udp_gro, bool)
    assert len(sockets.pairs) == shards
    sockets.close()
    assert len(made) > 10
    groups = shards > 1
    assert {call: verdict(machine, call[0], 3, *call[1:], groups=groups) for call in made} == dict.fromkeys(made, ALLOW)
    assert {verdict(machine, call[0], 3, *call[1:]) for call in made} == ({ALLOW, REFUSE} if groups else {ALLOW})


# ---- every entry has a caller

STAT, UNLINK = r"os\.lstat\(", r"os\.unlink\("
BY_CONTROL_PLANE = {
    "recvfrom": r"_socket\.recv\(",
    "accept4": r"listener\.accept\(",
    "bind": r"sock\.bind\(",
    "connect": r"sock\.connect\(",
    "close": r"os\.close\(",
    "getsockname": r"\.getsockname\(",
    "fstat": r"os\.fstat\(",
    **dict.fromkeys(("stat", "lstat", "newfstatat"), STAT),
    **dict.fromkeys(("unlink", "unlinkat"), UNLINK),
    "timerfd_settime": r"\.timerfd_settime\(",
    "getrandom": r"\bos\.getrandom\b",
    "uname": r"os\.uname\(",
    "poll": r"\.poll\(0\)",
    "sendto": r"_socket\.send\(",
    "read": r"os\.read\(",
    "write": r"os\.write\(",
    "ioctl": r"fcntl\.ioctl\(",
    "getsockopt": r"\.getsockopt\(",
    "setsockopt": r"\.setsockopt\(",
    "socket": r"socket\.socket\(",
    "sendmsg": r"socket\.send_fds\(",
    "memfd_create": r"os\.memfd_create\(",
    "pwrite64": r"os\.pwrite\(",
}
"""What each call looks like where pywg/runtime/ makes it."""
BY_PYTHON_AND_THE_LOOP = {
    "epoll": {"epoll_ctl", "epoll_pwait", "epoll_wait"},
    "threads": {"futex", "gettid", "sched_yield"},
    "signals": {"getpid", "restart_syscall", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "tgkill"},
    "clocks": {"clock_gettime", "clock_nanosleep", "gettimeofday", "nanosleep", "time"},
    "memory": {"brk", "madvise", "mmap", "mprotect", "mremap", "munmap"},
    "the end": {"exit_group", "writev"},
    "uvloop's descriptors": {"fcntl"},
}
"""What Python, uvloop, libcrypto and libc call in the event loop's thread, by what for."""
_MALLOC = {"brk", "futex", "madvise", "mmap", "mprotect", "munmap"}
_LOCKS = {"futex"}
_LIBCRYPTO = _MALLOC | {"getpid"}  # a context, the state of an error; the detection of a fork
BY_DATA_PLANE: dict[str, set[str]] = {
    "CRYPTO_memcmp": set(),
    "EVP_CIPHER_CTX_ctrl": _LIBCRYPTO,
    "EVP_CIPHER_CTX_free": _LIBCRYPTO,
    "EVP_CIPHER_CTX_new": _LIBCRYPTO,
    "EVP_CipherInit_ex": _LIBCRYPTO,
    "EVP_CipherUpdate": _LIBCRYPTO,
    "EVP_DecryptFinal_ex": _LIBCRYPTO,
    "EVP_DecryptInit_ex": _LIBCRYPTO,
    "EVP_DecryptUpdate": _LIBCRYPTO,
    "EVP_EncryptFinal_ex": _LIBCRYPTO,
    "EVP_EncryptInit_ex": _LIBCRYPTO,
    "EVP_EncryptUpdate": _LIBCRYPTO,
    "EVP_chacha20_poly1305": set(),
    "OPENSSL_cleanse": set(),
    "OSSL_PARAM_construct_end": set(),
    "OSSL_PARAM_construct_octet_string": set(),
    "RAND_bytes": _LIBCRYPTO | {"clock_gettime", "getrandom", "gettimeofday", "time"},
    "calloc": _MALLOC,
    "clock_gettime": {"clock_gettime"},
    "eventfd_read": {"read"},
    "eventfd_write": {"write"},
    "free": _MALLOC,
    "malloc": _MALLOC,
    "memcmp": set(),
    "memcpy": set(),
    "memmove": set(),
    "memset": set(),
    "poll": {"poll"},
    "posix_memalign": _MALLOC,
    "pthread_cond_broadcast": _LOCKS,
    "pthread_cond_signal": _LOCKS,
    "pthread_cond_wait": _LOCKS,
    "pthread_mutex_lock": _LOCKS,
    "pthread_mutex_unlock": _LOCKS,
    "pthread_self": set(),
    "read": {"read"},
    "realloc": _MALLOC,
    "recvmmsg": {"recvmmsg"},
    "sendmmsg": {"sendmmsg"},
    "sendto": {"sendto"},
    "strlen": set(),
    "strncmp": set(),
    "strrchr": set(),
    "usleep": {"clock_nanosleep", "nanosleep"},
    "write": {"write"},
    "writev": {"writev"},
}
"""Functions of libc and libcrypto that native code calls -> the system calls that they make."""
AT_THE_START = """
OSSL_PROVIDER_available OSSL_PROVIDER_get0_provider_ctx OSSL_PROVIDER_query_operation OSSL_PROVIDER_try_load
OPENSSL_version_major OpenSSL_version close dladdr eventfd getenv mallopt pthread_cond_destroy pthread_cond_init
pthread_create pthread_join pthread_mutex_destroy pthread_mutex_init pthread_mutex_trylock pthread_setname_np
pthread_sigmask sigaction sigaddset sigdelset sigemptyset sigfillset snprintf syscall
"""
"""Functions that a thread calls before it enters its filter, or that the event loop's thread alone calls."""
_X25519 = """ERR_clear_error EVP_PKEY_CTX_free EVP_PKEY_CTX_new EVP_PKEY_CTX_new_id EVP_PKEY_derive EVP_PKEY_derive_init
EVP_PKEY_derive_set_peer EVP_PKEY_free EVP_PKEY_fromdata EVP_PKEY_fromdata_init EVP_PKEY_get_raw_public_key
EVP_PKEY_new_raw_private_key EVP_PKEY_new_raw_public_key"""
_ARENAS = {"mlock", "mmap64", "mprotect", "munmap", "madvise", "sysconf"}
BY_THE_LOOP_ALONE = {*_ARENAS, *_X25519.split(), "pthread_getaffinity_np", "getpid"}
"""An arena of secrets is added where the control plane makes a key; handshakes compute, and ask the system for nothing
but memory; statistics tell of processors; a plane is told from the copy that a fork has made."""
BY_A_THREAD_ITSELF = {
    "restart_syscall": "poll, after a stop",
    "rt_sigreturn": "a refusal is counted",
    "rt_sigprocmask": "its end",
    "exit": "its end",
    "gettid": "abort()",
    "getpid": "abort()",
    "tgkill": "abort()",
    "writev": "abort()",
}
BY_THE_COMPILER = {"__stack_chk_fail", "__gmon_start__", "__cxa_finalize", "__errno_location", "__assert_fail"}


def imported() -> set[str]:
    """What the data plane's modules want from other libraries, and is not Python's.

    A fortified function makes the calls of the plain one.
    """
    nm = require_tool("nm")
    modules = [*map(str, (PACKAGE / "dataplane").rglob("*.so")), *map(str, PACKAGE.glob("_fastpath*.so"))]
    assert len(modules) > 30
    shown = subprocess.run([nm, "-D", "--undefined-only", *modules], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1].partition("@")[0] for line in shown.splitlines() if " U " in line}
    names = {re.sub(r"^__(\w+)_chk$", r"\1", name) for name in names}
    return {name for name in names if not name.startswith(("Py", "_Py"))} - BY_THE_COMPILER


def test_native_code_calls_nothing_that_the_lists_were_not_made_from() -> None:
    """For another function of libc its system calls are looked up, and put on the lists of the threads that call it."""
    known = BY_DATA_PLANE.keys() | set(AT_THE_START.split()) | BY_THE_LOOP_ALONE
    assert imported() - known == set()
    assert {"recvmmsg", "RAND_bytes", "mlock", "pthread_create"} <= imported(), "what is called is found"


def _names(on: Iterable[Thread]) -> set[str]:
    of = bpf.MACHINES[X86_64]
    return {name for kind in on for name, _ in seccomp.allowed(kind, PID, of, musl=False)}


def test_every_call_of_the_data_plane_has_a_caller_and_every_caller_its_calls() -> None:
    called = set().union(*(calls for name, calls in BY_DATA_PLANE.items() if name in imported()))
    assert _names(PLANE) == called | BY_A_THREAD_ITSELF.keys()


def test_every_call_of_the_event_loop_has_a_caller() -> None:
    """In pywg/runtime/, in the data plane's part of the control plane, or by Python and its loop."""
    text = "\n".join(path.read_text() for path in (PACKAGE / "runtime").rglob("*.py"))
    assert [name for name, pattern in BY_CONTROL_PLANE.items() if not re.search(pattern, text)] == []
    assert not re.search(r"\bos\.readv\(", text), "what isn't called isn't found"
    known = (
        BY_CONTROL_PLANE.keys()
        | set().union(*BY_PYTHON_AND_THE_LOOP.values())
        | {"sendmmsg", "mlock", "sched_getaffinity"}
    )
    assert _names([Thread.LOOP]) == known


def test_every_option_is_set_by_a_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """By new sockets of the device, or by one that asks why an endpoint doesn't answer."""
    made: set[tuple[int, int]] = set()

    class Recorded(socket.socket):
        def setsockopt(self, level: int, option: int, *_value: object) -> None:
            made.add((level, option))
            if (level, option) in ((socket.IPPROTO_IPV6, socket.IPV6_V6ONLY), seccomp.GROUP_OPTIONS[0]):
                super().setsockopt(level, option, 1)

    def new_socket(family: socket.AddressFamily) -> socket.socket:
        return Recorded(family, socket.SOCK_DGRAM, socket.IPPROTO_UDP)

    monkeypatch.setattr("pywg.runtime.net.refusal.new_socket", new_socket)
    binding = Binding(device="lo")
    open_sockets(0, 7, binding=binding, shards=2, factory=new_socket).close()
    refusals = Refusals(lambda _seconds, _callback: Timer(0, print), binding=binding)
    for ip in (socket.inet_aton("127.0.0.1"), socket.inet_pton(socket.AF_INET6, "::1")):
        refusals.ask(Endpoint(ip, 9), 7, lambda _code: None)
    refusals.close()
    assert made == {*seccomp.OPTIONS, *seccomp.GROUP_OPTIONS}


def test_another_architecture_kills() -> None:
    i386 = 0x40000003
    for on in Thread:
        assert verdict(X86_64, 0, on=on, foreign=i386) == KILL
        assert verdict(X86_64, 0, on=on, foreign=bpf.MACHINES[AARCH64].architecture) == KILL


def test_the_x32_convention_is_refused() -> None:
    assert {verdict(X86_64, 0x40000000, on=on) for on in Thread} == {REFUSE}


@pytest.mark.parametrize("on", Thread)
@pytest.mark.parametrize("machine", MACHINES)
def test_every_jump_ends_in_the_program(machine: str, on: Thread) -> None:
    of = bpf.MACHINES[machine]
    program = bpf.program(of, seccomp.allowed(on, PID, of, musl=False), refuse=REFUSE)
    assert len(program) <= BPF_MAXINSNS
    for at, (code, if_true, if_false, _) in enumerate(program):
        assert max(if_true, if_false) <= 255
        assert at + 1 + max(if_true, if_false) < len(program) or code == 0x06


def test_a_call_stands_in_a_list_once() -> None:
    """A program would take the first, with its arguments, for the whole."""
    for of in bpf.MACHINES.values():
        for on in Thread:
            names = [name for name, _ in seccomp.allowed(on, PID, of, musl=False)]
            assert sorted(names) == sorted(set(names))


def test_a_counted_refusal_says_which_thread() -> None:
    of = bpf.MACHINES[X86_64]
    program = bpf.program(of, seccomp.allowed(Thread.HELPER, PID, of, musl=False), refuse=bpf.RET_TRAP | Thread.HELPER)
    trap, data = 0x00030000, 3
    assert run(program, 2, of.architecture) == trap | data
    assert run(program, 1, of.architecture) == ALLOW


@pytest.mark.parametrize(("known", "musl"), [(True, False), (False, True)])
def test_the_libc_is_told_by_a_name_of_glibcs(monkeypatch: pytest.MonkeyPatch, known: bool, musl: bool) -> None:
    def confstr(name: str) -> str:
        assert name == "CS_GNU_LIBC_VERSION"
        if not known:
            raise ValueError("unrecognized configuration name")
        return "glibc 2.36"

    monkeypatch.setattr("os.confstr", confstr)
    assert seccomp._is_musl() == musl


def test_a_thread_that_starts_late_starts() -> None:
    """glibc ends the process when a new thread's rseq is refused. Where one filter is for all threads, a busy machine
    may run a thread's start after it is on."""
    of = bpf.MACHINES[X86_64]
    calls = seccomp.allowed(Thread.LOOP, PID, of, musl=False) + [(name, [()]) for name in seccomp._SHARED]
    program = bpf.program(of, calls, refuse=REFUSE)
    for name in ("rseq", "set_robust_list", "rt_sigprocmask", "recvmmsg", "exit"):
        called = number(X86_64, name)
        assert called is not None
        assert run(program, called, of.architecture) == ALLOW
