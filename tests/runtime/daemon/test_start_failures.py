"""Every way that a start can fail: each system call that it makes is refused, for good, from pywg's first line on.

Either the daemon starts all the same, and says what it is without; or there is one line on standard error that says
what to do, exit status 1, and nothing is left behind. dropin: 4.
"""

import contextlib
import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.requirements import require_root
from tests.runtime.daemon.test_service import DIRECTORY, PATIENCE, answers, environment, until
from tests.runtime.namespace import ip, run_inside, unique
from tests.runtime.syscall_refusal import SUPPORTED

pytestmark = [
    pytest.mark.netns,
    pytest.mark.dropin("4"),
    pytest.mark.skipif(not SUPPORTED, reason="numbers of system calls are known for x86-64 alone"),
]

# What is imported when the program begins is imported before: refusing the interpreter its own start tells nothing.
PROGRAM = """
import json, os, sys
from pywg.cli.main import main
import pywg.cli.run, pywg.cli.words, pywg.runtime.daemon.linux, pywg.runtime.daemon.service, encodings.idna
from tests.runtime.syscall_refusal import Argument, refuse
number, code, arguments, argv = json.loads(sys.argv[1])
if number >= 0:
    refuse(number, code, [Argument(*one) for one in arguments])
sys.exit(main(argv))
"""

STARTS = ""
FILES = "ulimit -n"
MEMORY = "free some memory"
THREADS = "ulimit -u"
PROFILE = "has to allow this"
NO_CALL = "no such system call"


class Refusal(NamedTuple):
    """A row of the table."""

    call: str
    number: int
    code: int
    says: str
    """a part of the one line; STARTS: the daemon starts"""
    arguments: tuple[tuple[int, int], ...] = ()
    """(index, value): only such calls"""
    mentions: str = ""
    """what its log has to say at the default level, where it starts"""
    options: tuple[str, ...] = ()


TUNSETIFF, TUNGETIFF, TUNSETOFFLOAD = 0x400454CA, 0x800454D2, 0x400454D0
TUNGETVNETHDRSZ, TUNSETVNETHDRSZ, SIOCSIFMTU, FIONBIO = 0x800454D7, 0x400454D8, 0x8922, 0x5421
TUNGETDEVNETNS, SIOCGSKNS = 0x54E3, 0x894C
IOCTL, SOCKET, PRCTL, FCNTL, PRLIMIT = 16, 41, 157, 72, 302
SET_DUMPABLE, SET_KEEPCAPS, CAPBSET_READ, CAPBSET_DROP, SET_NO_NEW_PRIVS, CAP_AMBIENT = 4, 8, 23, 24, 38, 47
NOBODY, WITHOUT_NET_ADMIN = ("--user", "nobody"), ("--drop-net-admin",)
NOBODYS = "user nobody can't be had"

TABLE = [
    # The interface
    Refusal("openat", 257, errno.EMFILE, FILES),
    Refusal("openat", 257, errno.EACCES, "run as root"),
    Refusal("openat", 257, errno.ENFILE, "file-max"),
    Refusal("openat", 257, errno.ENOMEM, MEMORY),
    Refusal("openat", 257, errno.ENOENT, "modprobe tun"),
    Refusal("TUNSETIFF", IOCTL, errno.EPERM, PROFILE, ((1, TUNSETIFF),)),
    Refusal("TUNSETIFF", IOCTL, errno.ENOMEM, MEMORY, ((1, TUNSETIFF),)),
    Refusal("TUNSETIFF", IOCTL, errno.ENOSYS, NO_CALL, ((1, TUNSETIFF),)),
    Refusal("TUNGETIFF", IOCTL, errno.EPERM, PROFILE, ((1, TUNGETIFF),)),
    Refusal("TUNSETOFFLOAD", IOCTL, errno.EINVAL, STARTS, ((1, TUNSETOFFLOAD),)),
    Refusal("TUNSETVNETHDRSZ", IOCTL, errno.EINVAL, STARTS, ((1, TUNSETVNETHDRSZ),)),
    Refusal("TUNGETVNETHDRSZ", IOCTL, errno.EINVAL, "Linux 4.14", ((1, TUNGETVNETHDRSZ),)),
    Refusal("SIOCSIFMTU", IOCTL, errno.EPERM, PROFILE, ((1, SIOCSIFMTU),)),
    Refusal("SIOCSIFMTU's socket", SOCKET, errno.EMFILE, FILES, ((0, socket.AF_INET),)),
    Refusal("SIOCSIFMTU's socket", SOCKET, errno.EAFNOSUPPORT, "MTU", ((0, socket.AF_INET),)),
    # Its state
    Refusal("netlink", SOCKET, errno.EPERM, PROFILE, ((0, socket.AF_NETLINK),)),
    Refusal("netlink", SOCKET, errno.EMFILE, FILES, ((0, socket.AF_NETLINK),)),
    Refusal("TUNGETDEVNETNS", IOCTL, errno.EPERM, STARTS, ((1, TUNGETDEVNETNS),)),
    # The configuration socket
    Refusal("mkdir", 83, errno.EROFS, STARTS),  # where the directory is there already
    Refusal("socket", SOCKET, errno.EMFILE, FILES, ((0, socket.AF_UNIX), (1, socket.SOCK_STREAM | 0o2004000))),
    Refusal("socket", SOCKET, errno.EPERM, PROFILE, ((0, socket.AF_UNIX), (1, socket.SOCK_STREAM | 0o2004000))),
    Refusal("bind", 49, errno.EACCES, PROFILE),
    Refusal("bind", 49, errno.EROFS, "tmpfs"),
    Refusal("bind", 49, errno.ENOSPC, "make room"),
    Refusal("listen", 50, errno.EPERM, PROFILE),
    Refusal("inotify_init1", 294, errno.EMFILE, STARTS),
    Refusal("inotify_add_watch", 254, errno.ENOSPC, STARTS),
    # The log, in the background
    Refusal("syslog", SOCKET, errno.EMFILE, STARTS, ((0, socket.AF_UNIX), (1, socket.SOCK_DGRAM | 0o2000000))),
    Refusal("connect", 42, errno.EACCES, STARTS),
    # What it gives up
    Refusal("PR_SET_DUMPABLE", PRCTL, errno.EPERM, STARTS, ((0, SET_DUMPABLE),), "can't be forbidden"),
    Refusal("RLIMIT_CORE", PRLIMIT, errno.EPERM, STARTS, ((1, 4),), "can't be forbidden"),
    Refusal("RLIMIT_MEMLOCK", PRLIMIT, errno.EPERM, STARTS, ((1, 8),)),
    Refusal("PR_SET_NO_NEW_PRIVS", PRCTL, errno.EINVAL, STARTS, ((0, SET_NO_NEW_PRIVS),)),
    Refusal("PR_SET_NO_NEW_PRIVS", PRCTL, errno.EPERM, STARTS, ((0, SET_NO_NEW_PRIVS),), "sandbox: without no_new_pri"),
    Refusal("chroot", 161, errno.EPERM, STARTS, (), "sandbox: without a root directory of its own"),
    Refusal("chdir", 80, errno.EACCES, STARTS, (), "sandbox: without a root directory of its own"),
    Refusal("PR_CAPBSET_READ", PRCTL, errno.EPERM, STARTS, ((0, CAPBSET_READ),)),
    Refusal("PR_CAPBSET_DROP", PRCTL, errno.EPERM, STARTS, ((0, CAPBSET_DROP),)),
    Refusal("PR_CAP_AMBIENT", PRCTL, errno.EINVAL, STARTS, ((0, CAP_AMBIENT),)),
    Refusal("capget", 125, errno.EPERM, STARTS, (), "sandbox: without the drop of capabilities"),
    Refusal("capset", 126, errno.EPERM, STARTS, (), "sandbox: without the drop of capabilities"),
    Refusal("seccomp", 317, errno.ENOSYS, STARTS),
    *(Refusal("seccomp", 317, code, STARTS, (), "sandbox: without seccomp") for code in (errno.EPERM, errno.ENOMEM)),
    *(Refusal("landlock_create_ruleset", 444, code, STARTS) for code in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)),
    Refusal("landlock_add_rule", 445, errno.EPERM, STARTS, (), "sandbox: without Landlock"),
    Refusal("landlock_restrict_self", 446, errno.EPERM, STARTS, (), "sandbox: without Landlock"),
    Refusal("landlock_restrict_self", 446, errno.E2BIG, STARTS, (), "data plane's threads are without Landlock"),
    # What the operator wants given up: without it, no start
    *(
        Refusal(call, number, code, f"{NOBODYS}: {os.strerror(code)}; {says}", arguments, "", NOBODY)
        for call, number, code, says, arguments in (
            ("setgroups", 116, errno.EPERM, "run as root", ()),
            ("setresgid", 119, errno.EPERM, "run as root", ()),
            ("setresuid", 117, errno.EPERM, "run as root", ()),
            ("setresuid", 117, errno.EAGAIN, "raise the limit of processes", ()),
            ("PR_SET_KEEPCAPS", PRCTL, errno.EPERM, "run as root", ((0, SET_KEEPCAPS),)),
            ("capset", 126, errno.EPERM, "run as root", ()),
        )
    ),
    Refusal("capget", 125, errno.EPERM, PROFILE, (), "", NOBODY),
    Refusal("a process that removes", 56, errno.EAGAIN, THREADS, (), "", NOBODY),
    Refusal("chroot", 161, errno.EPERM, STARTS, (), "sandbox: without a root directory of its own", NOBODY),
    Refusal("seccomp", 317, errno.EPERM, STARTS, (), "sandbox: without seccomp", NOBODY),
    Refusal(
        "capset",
        126,
        errno.EPERM,
        f"a daemon without CAP_NET_ADMIN can't be had: {os.strerror(errno.EPERM)}; run",
        (),
        "",
        WITHOUT_NET_ADMIN,
    ),
    Refusal("capget", 125, errno.EPERM, PROFILE, (), "", WITHOUT_NET_ADMIN),
    # The event loop
    Refusal("epoll_create1", 291, errno.EMFILE, FILES),
    Refusal("epoll_create1", 291, errno.ENOMEM, MEMORY),
    Refusal("epoll_ctl", 233, errno.ENOMEM, MEMORY),
    Refusal("epoll_ctl", 233, errno.ENOSPC, "make room"),
    Refusal("eventfd2", 290, errno.EMFILE, FILES),
    Refusal("eventfd2", 290, errno.ENOSYS, NO_CALL),
    Refusal("pipe2", 293, errno.EMFILE, FILES),
    Refusal("socketpair", 53, errno.EMFILE, FILES),
    Refusal("timerfd_create", 283, errno.EMFILE, STARTS),
    Refusal("timerfd_settime", 286, errno.EINVAL, STARTS),
    Refusal("io_uring_setup", 425, errno.EPERM, STARTS),
    # The data plane
    Refusal("clone3", 435, errno.EAGAIN, THREADS),
    Refusal("clone3", 435, errno.EPERM, PROFILE),
    Refusal("mlock", 149, errno.ENOMEM, STARTS, (), "RLIMIT_MEMLOCK"),
    Refusal("mlock", 149, errno.EPERM, STARTS, (), "RLIMIT_MEMLOCK"),
    Refusal("madvise", 28, errno.EINVAL, STARTS),
    Refusal("getrandom", 318, errno.ENOSYS, NO_CALL),
    Refusal("getrandom", 318, errno.EPERM, PROFILE),
    Refusal("sched_getaffinity", 204, errno.EPERM, STARTS),
    Refusal("getsockname", 51, errno.ENOBUFS, STARTS),
    Refusal("uname", 63, errno.EPERM, STARTS),
]

IN_BACKGROUND = [
    Refusal("clone", 56, errno.EAGAIN, THREADS),
    Refusal("clone", 56, errno.ENOMEM, MEMORY),
    Refusal("clone", 56, errno.EPERM, PROFILE),
    Refusal("setsid", 112, errno.EPERM, PROFILE),
    Refusal("chdir", 80, errno.EACCES, PROFILE),
    Refusal("dup2", 33, errno.EMFILE, FILES),
    Refusal("pipe2", 293, errno.ENFILE, "file-max"),
    Refusal("TUNSETIFF", IOCTL, errno.EPERM, PROFILE, ((1, TUNSETIFF),)),
    Refusal("epoll_ctl", 233, errno.ENOMEM, MEMORY),
    Refusal("clone3", 435, errno.EAGAIN, THREADS),
    Refusal("setresuid", 117, errno.EPERM, NOBODYS, (), "", NOBODY),
    Refusal("capset", 126, errno.EPERM, "a daemon without CAP_NET_ADMIN can't be had", (), "", WITHOUT_NET_ADMIN),
]
if os.environ.get("PYWG_LONG") == "1":
    IN_BACKGROUND += [one for one in TABLE if one not in IN_BACKGROUND and one.says not in (STARTS, "modprobe tun")]
    """Without /dev/net/tun it is /dev/null that these lack first."""


def command(refusal: Refusal | None, *argv: str) -> list[str]:
    number, code, arguments = (refusal.number, refusal.code, refusal.arguments) if refusal else (-1, 0, ())
    return [sys.executable, "-c", PROGRAM, json.dumps([number, code, arguments, argv])]


def named(refusal: Refusal) -> str:
    return "-".join([refusal.call, errno.errorcode[refusal.code], *refusal.options[:1]])


def nothing_left(name: str) -> bool:
    return not os.path.exists(f"{DIRECTORY}/{name}.sock") and name not in ip("link") and not processes_of(name)


def processes_of(name: str) -> list[str]:
    """The processes that have the interface on their command line, daemons in the background among them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if name.encode() in path.read_bytes():
                found.append(path.parent.name)
    return found


def one_line(text: str, says: str) -> None:
    assert "Traceback" not in text
    assert text.count("\n") == 1, text
    assert text.startswith("pywg: "), text
    assert says in text, text
    assert not re.search(r"\[Errno|None", text), text


def try_start(name: str, argv: list[str]) -> tuple[str, str]:
    """Starts the daemon of `name` in the foreground. ("started" or "refused", standard error)."""
    process = subprocess.Popen(argv, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: process.poll() is not None or answers(name))
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            text = process.communicate(timeout=PATIENCE)[1]
            assert process.returncode == 0, text
            return "started", text
        text = process.communicate(timeout=PATIENCE)[1]
        assert process.returncode == 1, (process.returncode, text)
        return "refused", text
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.mark.parametrize("refusal", TABLE, ids=named)
def test_each_system_call_of_a_start(refusal: Refusal) -> None:
    require_root()
    name = unique("pywgt")

    def test() -> None:
        os.makedirs(DIRECTORY, exist_ok=True)
        outcome, text = try_start(name, command(refusal, "-f", *refusal.options, name))
        if refusal.says == STARTS:
            assert (outcome, "Traceback" in text) == ("started", False), text
            assert refusal.mentions in text
        else:
            assert outcome == "refused", text
            one_line(text, refusal.says)
        until(lambda: nothing_left(name))

    run_inside(test)


def test_without_a_refusal_it_starts_and_says_nothing() -> None:
    require_root()
    name = unique("pywgt")
    run_inside(lambda: _starts_in_silence(name))


def _starts_in_silence(name: str) -> None:
    assert try_start(name, command(None, "-f", name)) == ("started", "")


@pytest.mark.parametrize("refusal", IN_BACKGROUND, ids=named)
def test_each_system_call_of_a_start_in_the_background(refusal: Refusal) -> None:
    require_root()
    name = unique("pywgt")

    def test() -> None:
        ended = subprocess.run(
            command(refusal, *refusal.options, name),
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ended.returncode, ended.stdout) == (1, ""), ended.stderr
        one_line(ended.stderr, refusal.says)
        until(lambda: nothing_left(name))

    run_inside(test)


# Beside single calls: what a machine or a container lacks. `prepare` runs in a mount namespace of the daemon's own.
WITHOUT_NULL = "mount -t tmpfs none /dev && mkdir /dev/net && mknod /dev/net/tun c 10 200"
LACKS = {
    "no /dev/null": (WITHOUT_NULL, "exec 0<&-", "mknod -m 666 /dev/null c 1 3"),
    "few descriptors": ("true", "ulimit -n 24", FILES),
    "a read-only /run": ("mount -t tmpfs -o ro none /run", "true", "tmpfs"),
    "a file at /run/wireguard": (
        "mount -t tmpfs none /run && touch /run/wireguard",
        "true",
        "has to be a directory",
    ),
    "a directory at /dev/net/tun": (
        "mount -t tmpfs none /dev/net && mkdir /dev/net/tun",
        "true",
        "--device /dev/net/tun",
    ),
    "no /dev/net/tun": ("mount -t tmpfs none /dev/net", "true", "modprobe tun"),
}


@pytest.mark.parametrize("way", [["-f"], []], ids=["foreground", "background"])
@pytest.mark.parametrize("lack", LACKS)
def test_what_a_machine_lacks_is_named_with_what_to_do(lack: str, way: list[str]) -> None:
    require_root()
    prepare, before, says = LACKS[lack]
    name = unique("pywgt")

    def test() -> None:
        script = f'{prepare} && {before} && exec "$@"'
        ended = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-m", "pywg", *way, name],
            env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (ended.returncode, ended.stdout) == (1, ""), ended.stderr
        one_line(ended.stderr, says)
        until(lambda: nothing_left(name))

    run_inside(test)


def test_without_dev_null_it_starts_where_it_needs_none() -> None:
    """In the foreground, with all three standard descriptors open."""
    require_root()
    name = unique("pywgt")

    def test() -> None:
        script = f'{WITHOUT_NULL} && exec "$@"'
        argv = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-m", "pywg", "-f", name]
        assert try_start(name, argv) == ("started", "")

    run_inside(test)


@pytest.mark.parametrize(
    ("unshare", "says"),
    [
        (["--user", "--map-root-user"], "--map-root-user --net"),
        (["--user"], "run as root, or with CAP_NET_ADMIN"),
    ],
    ids=["root of a user namespace", "nobody"],
)
def test_what_is_really_missing_without_the_privilege(unshare: list[str], says: str) -> None:
    require_root()
    name = unique("pywgt")

    def test() -> None:
        ended = subprocess.run(
            ["unshare", *unshare, sys.executable, "-m", "pywg", "-f", name],
            env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ended.returncode == 1
        one_line(ended.stderr, says)
        until(lambda: nothing_left(name))

    run_inside(test)


def test_root_without_the_capability_is_told_so() -> None:
    require_root()
    name = unique("pywgt")

    def test() -> None:
        ended = subprocess.run(
            ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-all", sys.executable, "-m", "pywg", "-f", name],
            env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ended.returncode == 1
        one_line(ended.stderr, "this root has no CAP_NET_ADMIN")
        until(lambda: nothing_left(name))

    run_inside(test)
