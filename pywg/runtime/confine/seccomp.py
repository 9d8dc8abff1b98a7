"""System calls that a running daemon may make, thread by thread; docs/security.md shows them as a table.

Each thread has a filter of its own (bpf.py), an allow-list. Any other call fails with EPERM, and is counted. The
process lives on: a libc that some day uses a call not listed here shall cost a log line and not the tunnel, and to an
attacker inside the thread the call is absent either way.

The lists are ordered by caller, and a call without a caller is on none. No call on them opens or changes a file, starts
a process or a thread, signals another process, or makes memory executable. Where one call does a hundred things, as
setsockopt does, the list names them one by one.

Two calls are on every list because of the filter itself: what counts a refusal tells the event loop with write, and
comes back by rt_sigreturn.
"""

import enum
import os
import signal
import socket
from collections.abc import Iterator

from pywg.config import addresses
from pywg.runtime.base import parcel
from pywg.runtime.base.classic_bpf import Instruction, code
from pywg.runtime.confine import bpf
from pywg.runtime.confine.bpf import Alternatives, Test
from pywg.runtime.net import link, refusal, socket_group, sockets, tun_device


class Thread(enum.IntEnum):
    """A kind of thread, by what is in `on` below; the value comes back with a refusal."""

    LOOP = 0
    SENDER = 1
    RECEIVER = 2
    HELPER = 3


NAMES = {Thread.LOOP: "the event loop", Thread.SENDER: "pywg-tx", Thread.RECEIVER: "pywg-rx", Thread.HELPER: "a helper"}
"""What a log line calls them."""

_L, _S, _R, _H = ({kind} for kind in Thread)
_READING, _PLANE, _ALL = _S | _R, _S | _R | _H, _L | _S | _R | _H

_PACKETS = {
    "write": _ALL,  # eventfds; the TUN, for an answer to an inner sender; the log
    "read": _L | _READING,  # the TUN, eventfds; timers and signals
    "recvmmsg": _R,
    "sendmmsg": _ALL,
    "writev": _ALL,  # the TUN; libc's last words before abort()
    "poll": _L | _READING,  # the loop: whether the log's reader takes more
    "sendto": _L | _READING,  # ICMP to inner senders; netlink, the configuration socket
}
"""Calls of pywg/dataplane/, the frequent ones first."""
_CONTROL = {
    "recvfrom": _L,
    "accept4": _L,
    "bind": _L,
    "connect": _L,
    "close": _L,
    "getsockname": _L,
    "fstat": _L,
    "stat": _L,
    "lstat": _L,
    "newfstatat": _L,
    "unlink": _L,
    "unlinkat": _L,
    "timerfd_settime": _L,
    "getrandom": _L | _R,  # libcrypto's RAND_bytes: cookies are made in the receiving thread
    "uname": _L,
    "mlock": _L,
    "sendmsg": _L,  # descriptors for the daemon that takes over
    "pwrite64": _L,  # wipes what was written for it
}
"""Calls of pywg/runtime/, and of the arena for secrets; stat(2) and unlink(2) also under other machines' names."""
_RUNTIME = {
    "epoll_wait": _L,
    "epoll_pwait": _L,
    "epoll_ctl": _L,
    "sched_yield": _L,
    "sched_getaffinity": _L,  # how many processors the data plane's threads have
    "clock_gettime": _ALL,  # where the vDSO has no clock
    "gettimeofday": _L | _R,  # as above
    "time": _L | _R,
    "clock_nanosleep": _L | _READING,  # usleep(), when nothing else works
    "nanosleep": _L | _READING,
    "restart_syscall": _L | _READING,  # poll(), or a sleep, after a stop
    "munmap": _ALL,  # malloc() and free(), of staged packets and of libcrypto's contexts
    "brk": _ALL,
    "mremap": _L,
    "rt_sigaction": _L,
    "rt_sigprocmask": _ALL,  # a thread's end
    "rt_sigreturn": _ALL,
    "exit": _PLANE,
    "exit_group": _L,
    "getpid": _ALL,  # abort(); RAND_bytes
    "gettid": _ALL,  # abort()
}
"""Calls of Python, its event loop, libcrypto and libc: for threads, signals, memory and the end, after a stop, and
where the vDSO has no clock."""
_SHARED = ("recvmmsg", "rseq", "set_robust_list", "exit")
"""Calls that the event loop's list has besides where all threads share it: of other threads, one of which may start
late."""

_PROT_EXEC = 4
_MAP_KINDS, _MAP_PRIVATE_ANONYMOUS = 0x23, 0x22  # MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS
_NOT_EXECUTABLE = Test(2, 0, _PROT_EXEC)
_MEMORY_OF_ITS_OWN = (_NOT_EXECUTABLE, Test(3, _MAP_PRIVATE_ANONYMOUS, _MAP_KINDS))
FUTEXES = {"FUTEX_WAIT": 0, "FUTEX_WAKE": 1, "FUTEX_REQUEUE": 3, "FUTEX_WAIT_BITSET": 9}
"""Locks and conditions of libc, the third musl's. Without FUTEX_LOCK_PI and its kin, where the kernel had faults."""
_FUTEX_FLAGS = 0x180  # FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME
GIVES_BACK = {"MADV_DONTNEED": 4, "MADV_FREE": 8}
HIDES = {"MADV_DONTDUMP": 16, "MADV_WIPEONFORK": 18}
"""Without the advice that undoes these two: it would bring keys into dumps and children."""
_SOCK_TYPE_MASK = 0xF
_UDP = (Test(1, socket.SOCK_DGRAM, _SOCK_TYPE_MASK), Test(2, socket.IPPROTO_UDP))
IOCTLS = {
    "FIONBIO": 0x5421,
    "TUNGETIFF": tun_device.TUNGETIFF,
    "TUNGETDEVNETNS": tun_device.TUNGETDEVNETNS,
    "SIOCGSKNS": link.SIOCGSKNS,
    "SIOCGIFNAME": addresses.SIOCGIFNAME,
    "SIOCGIFINDEX": addresses.SIOCGIFINDEX,
}
FCNTLS = {"F_DUPFD": 0, "F_GETFD": 1, "F_SETFD": 2, "F_GETFL": 3, "F_SETFL": 4, "F_DUPFD_CLOEXEC": 1030}
"""Without F_SETOWN and F_SETSIG, by which a descriptor can send any signal to any process."""
OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_SNDBUF),
    (socket.SOL_SOCKET, socket.SO_RCVBUF),
    (socket.SOL_SOCKET, sockets.SO_SNDBUFFORCE),
    (socket.SOL_SOCKET, sockets.SO_RCVBUFFORCE),
    (socket.SOL_SOCKET, socket.SO_MARK),
    (socket.SOL_SOCKET, socket.SO_BINDTODEVICE),
    (socket.IPPROTO_IP, sockets.IP_PKTINFO),
    (socket.IPPROTO_IP, sockets.IP_MTU_DISCOVER),
    (socket.IPPROTO_IP, sockets.IP_RECVTOS),
    (socket.IPPROTO_IP, refusal.IP_RECVERR),
    (socket.IPPROTO_IPV6, refusal.IPV6_RECVERR),
    (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY),
    (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO),
    (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS),
    (socket.IPPROTO_UDP, sockets.UDP_GRO),
)
"""Level and name of the options that net/sockets.py and net/refusal.py set on new UDP sockets. Options of x_tables (64
and up at both IP levels) are left out, because CAP_NET_ADMIN opens them, and filters (SO_ATTACH_...), because the
kernel compiles them."""
GROUP_OPTIONS = (
    (socket.SOL_SOCKET, socket_group.SO_REUSEPORT),
    (socket.SOL_SOCKET, socket_group.SO_ATTACH_REUSEPORT_CBPF),
)
"""Those of a daemon with shards besides, for net/socket_group.py. The second one takes a program, but of classic BPF:
no loop, no call, no memory, and nothing comes of it but a number."""


def _any_of(argument: int, values: dict[str, int], mask: int = 0xFFFFFFFF) -> Alternatives:
    return [(Test(argument, value, mask),) for value in values.values()]


def _limited(pid: int, *, groups: bool) -> Iterator[tuple[str, set[Thread], Alternatives]]:
    """Calls that are allowed with some arguments: the name, the threads, and the arguments."""
    options = OPTIONS + GROUP_OPTIONS if groups else OPTIONS
    yield "futex", _ALL, _any_of(1, FUTEXES, 0xFFFFFFFF & ~_FUTEX_FLAGS)
    yield "mmap", _ALL, [_MEMORY_OF_ITS_OWN]
    yield "mprotect", _ALL, [(_NOT_EXECUTABLE,)]
    yield "madvise", _L, _any_of(2, GIVES_BACK | HIDES)
    yield "madvise", _PLANE, _any_of(2, GIVES_BACK)
    yield "tgkill", _ALL, [(Test(0, pid), Test(2, signal.SIGABRT))]  # abort()
    yield "ioctl", _L, _any_of(1, IOCTLS)
    yield "fcntl", _L, _any_of(1, FCNTLS)
    yield "memfd_create", _L, [(Test(1, parcel.MEMFD_FLAGS),)]
    yield "getsockopt", _L, [(Test(1, level),) for level in (socket.SOL_SOCKET, socket.IPPROTO_UDP)]
    yield "setsockopt", _L, [(Test(1, level), Test(2, option)) for level, option in options]
    # A new listen port, and questions to rtnetlink: no other netlink family, whatever CAP_NET_ADMIN would do there.
    yield (
        "socket",
        _L,
        [
            (Test(0, socket.AF_INET), *_UDP),
            (Test(0, socket.AF_INET6), *_UDP),
            (Test(0, socket.AF_NETLINK), Test(2, socket.NETLINK_ROUTE)),
        ],
    )


_REMOVER = ("lstat", "newfstatat", "unlink", "unlinkat", "munmap", "brk", "exit_group")
"""Calls of remover.py's process, besides one read and memory for Python."""

_ON_MUSL = {"sendmmsg": "sendmsg"}
"""musl's sendmmsg() makes a sendmsg(2) of each message."""
_ON_AARCH64 = {"poll": "ppoll"}
"""Calls that AArch64 has not, and what libc makes in their place."""


def allowed(
    on: Thread, pid: int, machine: bpf.Machine, *, musl: bool, groups: bool = False
) -> list[tuple[str, Alternatives]]:
    """What a thread of this kind may call, in process `pid`: names, and which arguments.

    `groups`: with what it takes to open a group of UDP sockets.
    """
    unlimited = [name for calls in (_PACKETS, _CONTROL, _RUNTIME) for name, kinds in calls.items() if on in kinds]
    instead = {**(_ON_MUSL if musl else {}), **(_ON_AARCH64 if machine is bpf.MACHINES["aarch64"] else {})}
    names = dict.fromkeys(instead.get(name, name) for name in unlimited)
    found: list[tuple[str, Alternatives]] = [(name, [()]) for name in names]
    return found + [(name, alternatives) for name, kinds, alternatives in _limited(pid, groups=groups) if on in kinds]


def filters(*, counted: bool) -> tuple[bytes, bytes, bytes] | None:
    """The programs of the sender, of the receiver and of a helper; None where this machine has no table.

    `counted`: a refused call raises SIGSYS first, which must have a handler.
    """
    machine = bpf.machine()
    if machine is None:
        return None
    sender, receiver, helper = (
        code(_program(on, machine, counted=counted)) for on in (Thread.SENDER, Thread.RECEIVER, Thread.HELPER)
    )
    return sender, receiver, helper


def restrict(*, all_threads: bool, counted: bool, groups: bool = False) -> bool:
    """Puts the calling thread under the event loop's filter; False where the kernel, or this table, has no filter.

    `all_threads`: and every other thread, which is then allowed what any kind is. That fails for threads with filters
    of their own. `groups`: as for `allowed`. The calling thread must have no_new_privs. Raises OSError for any other
    failure.
    """
    machine = bpf.machine()
    if machine is None:
        return False
    instructions = _program(Thread.LOOP, machine, counted=counted, shared=all_threads, groups=groups)
    return bpf.enter(instructions, all_threads=all_threads)


def allowed_to_remover(waits: int) -> list[tuple[str, Alternatives]]:
    """What the process that removes the sockets may call: it reads from descriptor `waits` and no other."""
    of_its_own: list[tuple[str, Alternatives]] = [("read", [(Test(0, waits),)]), ("mmap", [_MEMORY_OF_ITS_OWN])]
    return of_its_own + [(name, [()]) for name in _REMOVER]


def restrict_remover(waits: int) -> bool:
    """Puts the calling thread, of that process, under its filter; otherwise as `restrict`."""
    machine = bpf.machine()
    if machine is None:
        return False
    return bpf.enter(bpf.program(machine, allowed_to_remover(waits), refuse=bpf.FAIL), all_threads=False)


def _program(
    on: Thread, machine: bpf.Machine, *, counted: bool, shared: bool = False, groups: bool = False
) -> list[Instruction]:
    calls = allowed(on, os.getpid(), machine, musl=_is_musl(), groups=groups)
    if shared:
        calls += [(name, [()]) for name in _SHARED]
    return bpf.program(machine, calls, refuse=bpf.RET_TRAP | on if counted else bpf.FAIL)


def _is_musl() -> bool:
    """Whether this libc is not glibc: confstr(3) of glibc alone knows this name."""
    try:
        return not os.confstr("CS_GNU_LIBC_VERSION")
    except (OSError, ValueError):
        return True
