"""A daemon that becomes another user, gives up CAP_NET_ADMIN, and lets others ask it. dropin: 5, 6, 21."""

import errno
import grp
import os
import pwd
import re
import signal
import socket
import stat
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from pywg.runtime.base.libc import CAP_NET_ADMIN, CAP_NET_BIND_SERVICE
from pywg.runtime.net.tun import open_tun
from tests import stale
from tests.processes import descriptors
from tests.requirements import require_root, require_tool
from tests.runtime.daemon.test_service import DIRECTORY, Foreground, answers, ask, environment, gone, pywg, until
from tests.runtime.namespace import ip, run_inside, unique

pytestmark = [pytest.mark.netns, pytest.mark.dropin("21")]
NOBODY = pwd.getpwnam("nobody")
GROUP = grp.getgrgid(NOBODY.pw_gid).gr_name
OTHERS = "4242"
"""A user and a group that nothing else here has."""
KEYS = b"set=1\nprivate_key=" + b"18" * 32 + b"\npublic_key=" + b"aa" * 32 + b"\npreshared_key=" + b"07" * 32 + b"\n\n"
EXACTLY_BIND = 1 << CAP_NET_BIND_SERVICE
BOTH = EXACTLY_BIND | 1 << CAP_NET_ADMIN


@pytest.fixture(autouse=True)
def _requirements() -> None:
    require_root()
    require_tool("setpriv")


@pytest.fixture
def name() -> str:
    return unique("pywgu")


def status(pid: int) -> list[dict[str, str]]:
    """Of each thread, what its /proc status says."""
    texts = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return [dict(re.findall(r"^(\w+):[ \t]*(.*)$", text, re.M)) for text in texts]


def remover_of(pid: int) -> int:
    """The process that removes the sockets of daemon `pid`."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def confined_remover_of(pid: int) -> int:
    """The same, when it has given up all that it gives up, and waits.

    That it has a seccomp filter says nothing: it is born with the one against io_uring.
    """
    remover = remover_of(pid)
    until(lambda: Path(f"/proc/{remover}/wchan").read_text().endswith("pipe_read"))
    return remover


def as_user(
    *argv: str, uid: int | str = NOBODY.pw_uid, gid: int | str = NOBODY.pw_gid
) -> subprocess.CompletedProcess[str]:
    before = ["setpriv", "--reuid", str(uid), "--regid", str(gid), "--clear-groups", "--inh-caps=-all"]
    return subprocess.run([*before, *argv], env=environment(), capture_output=True, text=True, timeout=60, check=False)


def attempt(code: str, *arguments: object, uid: int | str = NOBODY.pw_uid, gid: int | str = NOBODY.pw_gid) -> str:
    """What a program of another user gets from `code`: `done`, or the name of its error."""
    program = (
        "import errno, os, signal, socket, sys\n"
        f"try:\n    {code}\n    print('done')\n"
        "except OSError as error:\n    print(errno.errorcode[error.errno])"
    )
    ended = as_user("/usr/bin/python3", "-I", "-c", program, *map(str, arguments), uid=uid, gid=gid)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def connects(path: str, **ids: int | str) -> str:
    return attempt("socket.socket(socket.AF_UNIX).connect(sys.argv[1])", path, **ids)


def running(name: str, test: Callable[[Foreground], None], **variables: str) -> None:
    """`test(daemon)` with a daemon whose sandbox is closed, started by a root who is in some groups."""

    def body() -> None:
        with Foreground(name, before=("setpriv", "--groups", "4,24"), environ=variables) as daemon:
            until(lambda: answers(name) and b"sandbox_seccomp=1\n" in ask(name, b"stats=1\n\n"))
            test(daemon)
            if daemon.process.poll() is None:
                daemon.process.terminate()
                assert daemon.exit_status() == 0
            until(lambda: gone(name))

    run_inside(body)


@pytest.mark.parametrize(
    ("variables", "uid", "capabilities"),
    [
        ({}, 0, BOTH),
        ({"PYWG_USER": "nobody"}, NOBODY.pw_uid, BOTH),
        ({"PYWG_DROP_NET_ADMIN": "1"}, 0, EXACTLY_BIND),
        ({"PYWG_USER": f"nobody:{OTHERS}", "PYWG_DROP_NET_ADMIN": "1"}, NOBODY.pw_uid, EXACTLY_BIND),
    ],
)
def test_every_thread_is_the_user_with_these_capabilities(
    name: str, variables: dict[str, str], uid: int, capabilities: int
) -> None:
    def test(daemon: Foreground) -> None:
        gid = int(OTHERS) if ":" in variables.get("PYWG_USER", "") else NOBODY.pw_gid if uid else 0
        threads = status(daemon.process.pid)
        assert len(threads) >= 3
        for thread in threads:
            assert thread["Uid"].split() == [str(uid)] * 4
            assert thread["Gid"].split() == [str(gid)] * 4
            if uid:
                assert thread["Groups"].split() == []
            own = capabilities if thread["Pid"] == str(daemon.process.pid) else 0  # the data plane's need none
            assert int(thread["CapPrm"], 16) == int(thread["CapEff"], 16) == own
            assert int(thread["CapBnd"], 16) == capabilities
            assert int(thread["CapInh"], 16) == int(thread["CapAmb"], 16) == 0
            assert thread["NoNewPrivs"] == "1"
        shown = ask(name, b"stats=1\n\n").decode()
        assert f"sandbox_user={uid}\n" in shown
        assert f"sandbox_net_admin_dropped={int(capabilities == EXACTLY_BIND)}\n" in shown
        assert "sandbox_capabilities=1\n" in shown

    running(name, test, **variables)


def test_without_the_sandbox_what_was_asked_for_holds_all_the_same(name: str) -> None:
    def body() -> None:
        with Foreground(name, PYWG_USER="nobody", PYWG_DROP_NET_ADMIN="1", PYWG_SANDBOX="0") as daemon:
            until(lambda: answers(name))
            for thread in status(daemon.process.pid):
                assert thread["Uid"].split() == [str(NOBODY.pw_uid)] * 4
                assert int(thread["CapEff"], 16) == EXACTLY_BIND
                assert (thread["NoNewPrivs"], thread["Seccomp"]) == ("0", "0")
            daemon.process.terminate()
            assert daemon.exit_status() == 0
            assert gone(name)

    run_inside(body)


@pytest.mark.dropin("5")
@pytest.mark.parametrize("way", ["SIGTERM", "SIGINT", "link", "socket"])
def test_what_ends_it_and_that_its_sockets_go_with_it(name: str, way: str) -> None:
    def test(daemon: Foreground) -> None:
        remover = remover_of(daemon.process.pid)
        if way == "link":
            ip("link", "del", name)
        elif way == "socket":
            os.unlink(f"{DIRECTORY}/{name}.sock")
        else:
            daemon.process.send_signal(signal.Signals[way])
        assert daemon.exit_status() == 0
        assert gone(name)
        assert not os.path.exists(f"{DIRECTORY}/{name}.monitor")
        until(lambda: not os.path.exists(f"/proc/{remover}"))

    running(name, test, PYWG_USER="nobody", PYWG_MONITOR_SOCKET=GROUP)


@pytest.mark.dropin("6")
def test_what_a_killed_one_leaves_is_taken_over(name: str) -> None:
    def body() -> None:
        with Foreground(name, PYWG_USER="nobody", PYWG_MONITOR_SOCKET=GROUP) as first:
            until(lambda: answers(name))
            remover = remover_of(first.process.pid)
            first.process.kill()
            first.exit_status()
            until(lambda: not os.path.exists(f"/proc/{remover}"))
        assert os.path.exists(f"{DIRECTORY}/{name}.monitor")
        stale.lies_at(f"{DIRECTORY}/{name}.sock")
        with Foreground(name, PYWG_USER="nobody", PYWG_MONITOR_SOCKET=GROUP) as second:
            until(lambda: answers(name))
            second.process.terminate()
            assert second.exit_status() == 0
        assert gone(name)

    run_inside(body)


def test_the_remover_can_do_nothing_else(name: str) -> None:
    def test(daemon: Foreground) -> None:
        remover = confined_remover_of(daemon.process.pid)
        assert Path(f"/proc/{remover}/comm").read_text() == "pywg-remover\n"
        assert name.encode() not in Path(f"/proc/{remover}/cmdline").read_bytes()
        (thread,) = status(remover)
        assert int(thread["CapPrm"], 16) == int(thread["CapBnd"], 16) == 0
        assert (thread["NoNewPrivs"], thread["Seccomp_filters"]) == ("1", "2")
        links = descriptors(remover).values()
        assert sorted(re.sub(r"\d+", "N", link) for link in links) == ["/dev/null"] * 3 + ["pipe:[N]"] * 2
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(remover, number)
        daemon.process.terminate()
        assert daemon.exit_status() == 0
        assert gone(name)

    running(name, test, PYWG_USER="nobody")


def test_a_successors_socket_is_left_alone(name: str) -> None:
    path = f"{DIRECTORY}/{name}.sock"

    def body() -> None:
        with Foreground(name, PYWG_USER="nobody") as daemon, socket.socket(socket.AF_UNIX) as successor:
            until(lambda: answers(name))
            os.kill(daemon.process.pid, signal.SIGSTOP)
            os.unlink(path)
            successor.bind(path)
            successor.listen()  # or `wg show interfaces` of another test would remove it
            os.kill(daemon.process.pid, signal.SIGCONT)
            assert daemon.exit_status() == 0
            assert os.path.exists(path)
        os.unlink(path)

    run_inside(body)


def test_other_programs_of_the_user_can_read_nothing_of_it(name: str) -> None:
    """They could end it, which is why it should be a user of its own: `kill` is the positive control."""

    def test(daemon: Foreground) -> None:
        pid = daemon.process.pid
        before = Path("/proc/sys/fs/suid_dumpable").read_text().strip()
        for file in ("mem", "environ", "maps"):
            assert attempt("open(sys.argv[1], 'rb').read(1)", f"/proc/{pid}/{file}") == "EACCES", before
        for link in ("root", "cwd", "exe", "fd/3"):
            assert attempt("os.readlink(sys.argv[1])", f"/proc/{pid}/{link}") == "EACCES"
        trace = (
            "import ctypes; libc = ctypes.CDLL(None, use_errno=True); r = libc.ptrace(0x4206, int(sys.argv[1]), 0, 0)"
        )
        assert attempt(f"{trace}; (_ for _ in ()).throw(OSError(ctypes.get_errno(), '')) if r else 0", pid) == "EPERM"
        assert attempt("os.kill(int(sys.argv[1]), signal.SIGTERM)", remover_of(pid)) == "EPERM"
        assert connects(f"{DIRECTORY}/{name}.sock") == "EACCES"
        assert attempt("os.unlink(sys.argv[1])", f"{DIRECTORY}/{name}.sock") == "EACCES"
        assert attempt("os.kill(int(sys.argv[1]), signal.SIGTERM)", pid) == "done"
        assert daemon.exit_status() == 0

    running(name, test, PYWG_USER="nobody")


def test_it_stays_closed_where_changed_users_may_be_dumped(name: str) -> None:
    """fs.suid_dumpable=1 gives the files of /proc, and core files, of a process that changes its user to that user."""
    switch = Path("/proc/sys/fs/suid_dumpable")
    before = switch.read_text()

    def test(daemon: Foreground) -> None:
        assert os.stat(f"/proc/{daemon.process.pid}/mem").st_uid == 0
        assert attempt("open(sys.argv[1], 'rb').read(1)", f"/proc/{daemon.process.pid}/mem") == "EACCES"

    try:
        switch.write_text("1")
    except OSError as error:
        pytest.skip(f"fs.suid_dumpable can't be set: {error.strerror}")
    try:
        running(name, test, PYWG_USER="nobody")
    finally:
        switch.write_text(before)


def test_a_folder_that_root_alone_may_look_into(name: str, tmp_path: Path) -> None:
    """As one that was made under a umask of 077: the socket's end is still seen, and its file removed."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)

    def body() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "given.sock"))
            listener.listen()
            os.set_inheritable(listener.fileno(), True)
            given = {"PYWG_USER": "nobody", "WG_UAPI_FD": str(listener.fileno())}
            with Foreground(name, fds=(listener.fileno(),), environ=given) as daemon:
                until(lambda: name in ip("link"))
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(folder / "given.sock"))
                    client.sendall(b"get=1\n\n")
                    assert client.recv(100) == b"errno=0\n\n"
                assert daemon.process.poll() is None
                os.unlink(folder / "given.sock")
                assert daemon.exit_status() == 0

    run_inside(body)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"PYWG_USER": "nosuchuser"}, "PYWG_USER='nosuchuser': there is no user 'nosuchuser'"),
        ({"PYWG_USER": "nobody:nosuch"}, "PYWG_USER='nobody:nosuch': there is no group 'nosuch'"),
        ({"PYWG_SOCKET_OWNER": "nosuch"}, "PYWG_SOCKET_OWNER='nosuch': there is no user 'nosuch'"),
        ({"PYWG_MONITOR_SOCKET": "nosuch"}, "PYWG_MONITOR_SOCKET='nosuch': there is no group 'nosuch'"),
    ],
)
def test_an_unknown_account_is_one_line_and_nothing_is_started(name: str, variables: dict[str, str], says: str) -> None:
    def test() -> None:
        for way in ([], ["-f"]):
            ended = pywg(*way, name, environ=variables)
            assert (ended.returncode, ended.stdout) == (1, "")
            assert ended.stderr == f"pywg: {says}\n"
            assert gone(name)

    run_inside(test)


@pytest.mark.parametrize(
    ("lacking", "variables", "says"),
    [
        ("setuid", {"PYWG_USER": "nobody"}, "only root may become user nobody"),
        ("chown", {"PYWG_MONITOR_SOCKET": OTHERS}, "can't be given to its owner"),
        ("chown", {"PYWG_SOCKET_OWNER": f":{OTHERS}"}, "can't be given to its owner"),
    ],
)
def test_a_privilege_that_the_start_lacks_is_one_line(
    name: str, lacking: str, variables: dict[str, str], says: str
) -> None:
    def test() -> None:
        before = ["setpriv", f"--bounding-set=-{lacking}", "--inh-caps=-all"]
        ended = subprocess.run(
            [*before, sys.executable, "-m", "pywg", "-f", name],
            env=environment(**variables), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1), ended.stderr
        assert says in ended.stderr
        assert gone(name)

    run_inside(test)


def test_whoever_is_that_user_already_needs_no_right(name: str) -> None:
    """As under a service manager that starts it so (User=), in a folder that is the user's."""

    def body() -> None:
        before = (
            "setpriv", "--reuid", str(NOBODY.pw_uid), "--regid", str(NOBODY.pw_gid), "--clear-groups",
            "--inh-caps=-all,+net_admin,+net_bind_service", "--ambient-caps=-all,+net_admin,+net_bind_service",
        )  # fmt: skip
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"\0{name}")
            listener.listen()
            os.set_inheritable(listener.fileno(), True)
            tun = open_tun(name)  # the device may be root's alone
            os.set_inheritable(tun.fd, True)
            given = {"PYWG_USER": "nobody", "WG_UAPI_FD": str(listener.fileno()), "WG_TUN_FD": str(tun.fd)}
            with Foreground(name, before=before, fds=(listener.fileno(), tun.fd), environ=given) as daemon:
                tun.close()
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(f"\0{name}")
                    client.sendall(b"stats=1\n\n")
                    assert b"peers=0\n" in client.recv(1 << 16)
                assert int(status(daemon.process.pid)[0]["CapEff"], 16) == BOTH
                daemon.process.terminate()
                assert daemon.exit_status() == 0

    run_inside(body)


# ---- who may ask


@pytest.mark.dropin("6")
@pytest.mark.parametrize(
    ("owner", "mode", "uid", "gid"),
    [
        ("", 0o700, 0, 0),
        (OTHERS, 0o700, int(OTHERS), 0),
        (f":{OTHERS}", 0o770, 0, int(OTHERS)),
        (f"nobody:{OTHERS}", 0o770, NOBODY.pw_uid, int(OTHERS)),
    ],
)
def test_the_configuration_sockets_owner(name: str, owner: str, mode: int, uid: int, gid: int) -> None:
    def test(_daemon: Foreground) -> None:
        path = f"{DIRECTORY}/{name}.sock"
        found = os.stat(path)
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (mode, uid, gid)
        assert connects(path, uid=OTHERS, gid=OTHERS) == ("done" if OTHERS in owner else "EACCES")
        assert connects(path, uid=4243, gid=4243) == "EACCES"
        assert ask(name, KEYS) == b"errno=0\n\n"
        shown = as_user("wg", "show", name, "dump", uid=OTHERS, gid=OTHERS)
        if OTHERS in owner:
            assert b64encode(b"\x18" * 30).decode() in shown.stdout, shown.stderr
        else:
            assert (shown.returncode, shown.stdout) == (1, "")
            assert shown.stderr == "Unable to access interface: Permission denied\n"

    require_tool("wg")
    running(name, test, **({"PYWG_SOCKET_OWNER": owner} if owner else {}))


def test_the_monitoring_socket_of_a_daemon(name: str) -> None:
    """Its group sees the state and no key, and `wg` knows nothing of it."""
    require_tool("wg")

    def test(_daemon: Foreground) -> None:
        main, monitor = f"{DIRECTORY}/{name}.sock", f"{DIRECTORY}/{name}.monitor"
        assert ask(name, KEYS) == b"errno=0\n\n"
        found = os.stat(monitor)
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o770, 0, int(OTHERS))
        assert connects(main, uid=OTHERS, gid=OTHERS) == "EACCES"
        assert connects(monitor, uid=4243, gid=4243) == "EACCES"
        shown = as_user(sys.executable, "-m", "pywg", "stats", name, uid=OTHERS, gid=OTHERS)
        assert "\nsandbox_user=0\n" in shown.stdout, shown.stderr
        refused = as_user(sys.executable, "-m", "pywg", "stats", name, uid=4243, gid=4243)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert "--monitor-socket" in refused.stderr
        wg = as_user("wg", "show", name, uid=OTHERS, gid=OTHERS)
        assert (wg.returncode, wg.stdout) == (1, "")
        assert wg.stderr == "Unable to access interface: Permission denied\n"
        level = as_user(sys.executable, "-m", "pywg", "log", name, "debug", uid=OTHERS, gid=OTHERS)
        assert level.returncode == 1
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(monitor)
            client.sendall(b"get=1\n\nstats=1\n\n")
            told = b""
            while told.count(b"errno=0\n\n") < 2:
                told += client.recv(1 << 16)
            assert b"public_key=" + b"aa" * 32 in told
            assert b"18" * 16 not in told
            assert b"07" * 16 not in told
            client.sendall(b"set=1\nlisten_port=1\n\n")
            assert client.recv(100) == f"errno=-{errno.EACCES}\n\n".encode()
        assert b"18" * 16 in ask(name)
        listed = subprocess.run(["wg", "show", "interfaces"], capture_output=True, text=True, check=True).stdout.split()
        assert name in listed
        assert f"{name}.monitor" not in listed

    running(name, test, PYWG_MONITOR_SOCKET=OTHERS)


# ---- without CAP_NET_ADMIN


def test_what_is_refused_without_net_admin_and_what_the_log_says(name: str) -> None:
    def body() -> None:
        with Foreground(name, PYWG_DROP_NET_ADMIN="1", LOG_LEVEL="warning") as daemon:
            until(lambda: answers(name))
            eperm = f"errno=-{errno.EPERM}\n\n".encode()
            assert ask(name, b"set=1\nfwmark=7\n\n") == eperm
            assert b"fwmark=" not in ask(name)
            ip("link", "set", name, "up")
            until(lambda: b"sockets_open=1\n" in ask(name, b"stats=1\n\n"))
            assert ask(name, b"set=1\nfwmark=7\nlisten_port=444\n\n") == eperm
            assert b"listen_port=444\n" not in ask(name)
            assert ask(name, b"set=1\nlisten_port=444\n\n") == b"errno=0\n\n"
            ip("link", "set", name, "mtu", "1300")
            until(lambda: b"mtu=1300\n" in ask(name, b"stats=1\n\n"))
            ip("link", "set", name, "down")
            ip("link", "set", name, "up")
            until(lambda: b"sockets_open=1\n" in ask(name, b"stats=1\n\n"))
            daemon.process.terminate()
            assert daemon.exit_status() == 0
            said = daemon.stderr.read().decode()
            assert said.count("fwmark 0x7 can't be set: Operation not permitted; it needs CAP_NET_ADMIN") == 2
            assert said.count("UDP sockets receive into ") == 1  # of three pairs of sockets

    run_inside(body)


def test_an_interface_that_has_gone_to_another_namespace_is_told(name: str) -> None:
    def body() -> None:
        with Foreground(name, PYWG_DROP_NET_ADMIN="1") as daemon:
            until(lambda: answers(name))
            with subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE) as other:
                assert other.stdin is not None
                until(lambda: os.readlink(f"/proc/{other.pid}/ns/net") != os.readlink("/proc/thread-self/ns/net"))
                ip("link", "set", name, "netns", str(other.pid))
                line = daemon.stderr.readline().decode()
                assert "in another network namespace, where it can't be followed without CAP_NET_ADMIN" in line
                assert answers(name)
                other.stdin.close()
            assert daemon.exit_status() == 0  # the namespace's end is the interface's

    run_inside(body)
