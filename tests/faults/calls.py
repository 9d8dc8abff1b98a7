"""System calls of the daemon, the errors that each can give, and one that it can't: rows of docs/faults.md."""

import errno
import socket
from typing import NamedTuple

from tests.faults import injector
from tests.faults.injector import ANY, EPOLL, EVENT, NETLINK, OTHER, PARCEL, TIMER, TUN, UDP, UNIX, Arguments
from tests.faults.running import Doing, Running

_CHANGES: Doing = (Running.get, Running.port, Running.mark, Running.link, Running.peers, Running.handshakes)
_MEMORY: Doing = (Running.many_peers, Running.handshakes)
_CLIENTS: Doing = (Running.get, Running.port)
_HANDOVER: Doing = (Running.handover,)
_SOCKETS: Doing = (Running.port, Running.link)


def _request(number: int) -> Arguments:
    """ioctl(2) with that request."""
    return ((1, number),)


def _option(number: int) -> Arguments:
    """setsockopt(2) of that option of SOL_SOCKET."""
    return ((1, socket.SOL_SOCKET), (2, number))


KINDS = {
    ANY: "", TUN: "TUN", UDP: "UDP", NETLINK: "rtnetlink", UNIX: "clients", EVENT: "eventfd", EPOLL: "epoll",
    TIMER: "timerfd", OTHER: "other", PARCEL: "parcel",
}  # fmt: skip
NOTHING = "0"
"""In place of an errno: the call does nothing and returns 0, which is how brk(2) refuses."""
AGAIN = ("EAGAIN", "EINTR")
"""Never persistent: poll(2) would say that there is something, or a signal would come each time, for ever."""


class Case(NamedTuple):
    """A call, on one kind of descriptor, with its errors. The first is tried with every call of a start."""

    call: str
    errors: tuple[str, ...]
    doing: Doing = ()
    kind: int = ANY
    running: bool = True
    """False: only at the start, because a running daemon makes no such call"""
    once: tuple[str, ...] = AGAIN
    """errors that are not tried persistently"""
    fresh: bool = False
    """each error on a new daemon: one that has run has its memory"""
    background: bool = False
    """a start in the foreground makes no such call"""
    takeover: bool = False
    """no start makes such a call"""
    arguments: Arguments = ()
    """(index, low 32 bits) of those that single the call out"""
    of: str = ""
    """their name, as the kernel's headers have it"""
    shards: bool = False
    """a call by which shards are made: tried with several alone, each error at all of its calls"""

    @property
    def name(self) -> str:
        what = self.of or KINDS[self.kind]
        return f"{self.call} ({what})" if what else self.call


CASES = (
    # The data plane
    Case("recvmmsg", ("ENOMEM", "ENOBUFS", "ECONNREFUSED", "ENETDOWN", "EAGAIN", "EINTR", "EIO", "EPERM", "ENOSYS")),
    Case("sendmmsg", ("ENOBUFS", "ENETUNREACH", "EHOSTUNREACH", "EMSGSIZE", "EINVAL", "EPERM", "ENOMEM", "EAGAIN",
                      "EINTR", "EIO", "ENOSYS")),
    Case("sendto", ("ENOBUFS", "ENETUNREACH", "EPERM", "ENOMEM", "EINVAL", "EAGAIN", "EINTR", "EIO", "ENOSYS"),
         (), UDP),
    Case("read", ("EIO", "ENOMEM", "EAGAIN", "EINTR", "EPERM", "ENOSYS"), (), TUN),
    Case("writev", ("EIO", "ENOMEM", "ENOBUFS", "EINVAL", "EAGAIN", "EINTR", "EPERM", "ENOSYS"), (), TUN),
    Case("poll", ("ENOMEM", "EINVAL", "EINTR", "EIO", "EPERM", "ENOSYS")),
    Case("read", ("EIO", "EINTR", "EAGAIN"), _CHANGES, EVENT),
    Case("write", ("EIO", "EAGAIN", "EINTR"), _CHANGES, EVENT),
    Case("clone3", ("EAGAIN", "ENOMEM", "EPERM", "EIO"), running=False),
    Case("sched_getaffinity", ("EPERM", "EIO"), running=False),
    # The background
    Case("clone", ("EAGAIN", "ENOMEM", "EPERM"), running=False, background=True),
    Case("setsid", ("EPERM",), running=False, background=True),
    Case("dup2", ("EBUSY", "EIO"), running=False, background=True),
    Case("read", ("EIO", "EINTR"), kind=OTHER, running=False, background=True),
    Case("write", ("EIO", "EINTR"), kind=OTHER, running=False, background=True),
    # Sockets and the interface
    Case("socket", ("EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "EAFNOSUPPORT", "EPERM", "EIO"), _CHANGES),
    Case("bind", ("EADDRINUSE", "EACCES", "EADDRNOTAVAIL", "EPERM", "EIO"), (Running.port, Running.link), UDP),
    Case("bind", ("ENOMEM", "EIO"), kind=NETLINK, running=False),
    Case("bind", ("EADDRINUSE", "ENOSPC", "EIO"), kind=UNIX, running=False),
    Case("setsockopt", ("ENOPROTOOPT", "ENOMEM", "EPERM", "EIO", "ENOSYS"), _CHANGES),
    Case("getsockopt", ("ENOMEM", "EPERM", "EIO"), _CHANGES),
    Case("getsockname", ("ENOBUFS", "EIO"), _CHANGES),
    Case("ioctl", ("ENOMEM", "EPERM", "EIO", "ENOSYS"), _CHANGES),
    Case("openat", ("EMFILE",), running=False),
    # rtnetlink
    Case("sendto", ("ENOBUFS", "ENOMEM", "EPERM", "EIO"), _CHANGES, NETLINK),
    Case("recvfrom", ("ENOMEM", "ENOBUFS", "EAGAIN", "EIO"), _CHANGES, NETLINK, once=(*AGAIN, "ENOBUFS")),
    # The configuration socket
    Case("listen", ("EADDRINUSE", "EIO"), running=False),
    Case("flock", ("ENOLCK", "EIO"), running=False),
    Case("accept4", ("EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "ECONNABORTED", "EPERM", "EAGAIN", "EINTR", "EIO"),
         _CLIENTS),
    Case("recvfrom", ("ENOMEM", "ECONNRESET", "EAGAIN", "EINTR", "EIO"), _CLIENTS, UNIX),
    Case("sendto", ("ENOBUFS", "EPIPE", "ENOMEM", "EAGAIN", "EINTR", "EIO"), _CLIENTS, UNIX),
    Case("newfstatat", ("EIO",), _CHANGES),
    Case("inotify_init1", ("EMFILE", "EIO"), running=False),
    Case("inotify_add_watch", ("ENOSPC", "EIO"), running=False),
    # The event loop
    Case("epoll_create1", ("EMFILE", "ENOMEM", "EIO"), running=False),
    Case("epoll_ctl", ("ENOMEM", "ENOSPC", "EPERM", "EIO"), _CHANGES),
    Case("epoll_wait", ("EINTR", "EIO"), _CHANGES),
    Case("epoll_pwait", ("EINTR",), _CHANGES),
    Case("eventfd2", ("EMFILE", "ENOMEM", "EIO"), running=False),
    Case("pipe2", ("EMFILE", "EIO"), running=False),
    Case("socketpair", ("EMFILE", "EIO"), running=False),
    Case("timerfd_create", ("EMFILE", "EIO"), running=False),
    Case("timerfd_settime", ("EINVAL", "EIO"), _CHANGES),
    # Memory
    Case("mmap", ("ENOMEM", "EPERM"), _MEMORY, fresh=True),
    Case("munmap", ("ENOMEM", "EINVAL"), _MEMORY, fresh=True),
    Case("mprotect", ("ENOMEM", "EPERM"), _MEMORY, fresh=True),
    Case("madvise", ("ENOMEM", "EINVAL", "EIO"), _MEMORY, fresh=True),
    Case("mlock", ("ENOMEM", "EAGAIN", "EPERM"), _MEMORY, once=(), fresh=True),
    Case("brk", (NOTHING,), _MEMORY, fresh=True),
    # All else
    Case("getrandom", ("EAGAIN", "EINTR", "ENOSYS", "EIO"), (Running.handshakes, Running.peers), once=("EINTR",)),
    Case("close", ("EINTR", "EIO"), running=False),
    Case("fcntl", ("EIO",), running=False),
    Case("uname", ("EPERM",), _CHANGES),
    Case("mkdir", ("EROFS", "EIO"), running=False, background=True),  # the folder of sockets is there
    Case("prlimit64", ("EPERM", "EIO"), running=False),
    Case("setgroups", ("EPERM", "ENOMEM"), running=False, background=True),
    Case("setresgid", ("EPERM", "EAGAIN"), running=False, background=True),
    Case("setresuid", ("EPERM", "EAGAIN"), running=False, background=True),
    Case("chdir", ("EACCES", "EIO"), running=False),
    Case("chroot", ("EPERM",), running=False),
    Case("unshare", ("EPERM", "ENOSPC", "ENOMEM"), running=False, background=True),
    Case("mount", ("EPERM", "ENOMEM", "EBUSY"), running=False, background=True),
    Case("statfs", ("EIO",), running=False, background=True),
    Case("pivot_root", ("EINVAL", "EPERM"), running=False, background=True),
    Case("umount2", ("EPERM", "EBUSY"), running=False, background=True),
    Case("prctl", ("EPERM",), running=False),
    Case("capget", ("EPERM",), running=False),
    Case("capset", ("EPERM",), running=False),
    Case("seccomp", ("ENOSYS", "ENOMEM", "EPERM"), running=False),
    Case("landlock_create_ruleset", ("ENOSYS", "EOPNOTSUPP", "EIO"), running=False),
    Case("landlock_add_rule", ("EIO",), running=False),
    Case("landlock_restrict_self", ("E2BIG", "EIO"), running=False),
    # The end of a handover at the daemon that goes: the other end's calls are those of a start
    Case("memfd_create", ("EMFILE", "ENOMEM", "EPERM"), _HANDOVER),
    Case("sendmsg", ("ENOBUFS", "ETOOMANYREFS", "EPIPE", "EAGAIN", "EINTR", "EIO"), _HANDOVER, UNIX),
    Case("writev", ("ENOMEM", "EIO", "EINTR"), _HANDOVER, PARCEL),
    Case("pwrite64", ("ENOMEM", "EIO", "EINTR"), _HANDOVER),
    # The other end of it
    Case("connect", ("ECONNREFUSED", "EAGAIN", "EIO"), kind=UNIX, running=False, background=True),
    Case("recvmsg", ("ENOMEM", "ECONNRESET", "EINTR", "EIO"), kind=UNIX, running=False, takeover=True),
    Case("ftruncate", ("ENOMEM", "EPERM", "EIO"), running=False, takeover=True),
    Case("readlink", ("EACCES", "EIO"), running=False, takeover=True),
    Case("getdents64", ("EIO",), running=False, takeover=True),
    Case("lseek", ("EIO",), running=False),
    Case("wait4", ("ECHILD", "EINTR"), running=False, takeover=True),
    # Shards
    Case("ioctl", ("EINVAL", "EBUSY", "E2BIG", "EPERM", "ENOMEM", "EIO"), running=False, shards=True,
         arguments=_request(0x400454CA), of="TUNSETIFF"),
    Case("ioctl", ("EINVAL", "EPERM", "EIO"), running=False, shards=True, arguments=_request(0x400454CC),
         of="TUNSETOWNER"),
    Case("ioctl", ("EINVAL", "EPERM", "EIO"), running=False, shards=True, arguments=_request(0x400454DA),
         of="TUNSETIFINDEX"),
    Case("ioctl", ("EINVAL", "ENOMEM", "EPERM", "EIO"), running=False, shards=True, arguments=_request(0x800454E0),
         of="TUNSETSTEERINGEBPF"),
    Case("bpf", ("EPERM", "EINVAL", "ENOMEM", "ENOSYS", "EIO"), running=False, shards=True),
    Case("setsockopt", ("ENOPROTOOPT", "ENOMEM", "EPERM", "EIO"), _SOCKETS, shards=True, arguments=_option(15),
         of="SO_REUSEPORT"),
    Case("setsockopt", ("ENOPROTOOPT", "EINVAL", "ENOMEM", "EPERM", "EIO"), _SOCKETS, shards=True,
         arguments=_option(51), of="SO_ATTACH_REUSEPORT_CBPF"),
)  # fmt: skip
"""Left out: rt_sigaction, rt_sigprocmask, gettid, umask, exit, which can't fail but for a wrong argument; futex(2), for
whose odd errors libc ends the process; setns(2), which takes back what an earlier refusal has left; and of a running
daemon close(2), after which a descriptor is closed whatever it returns: here it would stay open."""
LIBUV = {
    "epoll_ctl": "libuv, which is given its few descriptors after epoll was tried",
    "epoll_pwait": "libuv asserts that it fails with EINTR alone",
    "pipe2": "libuv, which makes its pipe after another was tried",
    "write": "libuv, to its own pipe",
}
"""Calls of a start for which libuv ends the process by abort(), though the same call was tried just before. What is
left behind is a socket on which nobody answers, and the next start takes it over."""
SANDBOX = (
    "uname",
    "prctl",
    "seccomp",
    "landlock_create_ruleset",
    "landlock_add_rule",
    "landlock_restrict_self",
    "capset",
)
"""Calls without which there is less of a sandbox. After any other refusal it is whole."""
ROOT = ("openat", "close", "mkdir", "chdir", "chroot", "unshare", "mount", "statfs", "pivot_root", "umount2")
"""Calls without which the root directory stays the system's, as the log says."""


def number_of(name: str) -> int:
    """The errno of this name; 0 for NOTHING."""
    return 0 if name == NOTHING else getattr(errno, name)


assert {case.call for case in CASES} <= injector.NUMBERS.keys()
