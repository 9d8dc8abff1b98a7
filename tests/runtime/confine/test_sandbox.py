"""What is left in the sandbox: a child enters it as the daemon does, and then tries what an intruder would."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pywg.runtime.base.libc import CAP_NET_RAW
from pywg.runtime.base.log import Level, Log
from pywg.runtime.confine import capabilities, landlock
from pywg.runtime.confine.sandbox import Sandbox
from pywg.runtime.net import kernel
from tests.lines import StreamOutput
from tests.requirements import require_root

pytestmark = pytest.mark.netns

ENTER = """
import ctypes, errno, fcntl, json, mmap, os, resource, signal, socket, subprocess, sys, threading, time
from pywg.runtime.base.log import Level, Log
from pywg.runtime.base.system import Folders
from tests.lines import StreamOutput
from pywg.runtime.confine.sandbox import Sandbox
directory, other = sys.argv[1:3]
tun = os.open("/dev/net/tun", os.O_RDWR)
done, work = threading.Event(), []
sandbox = Sandbox(Log("wg0", Level.DEBUG, output=StreamOutput()), enabled=True)
sandbox.begin()
sandbox.drop_privileges()
def body():
    while not done.wait(0.001):
        while work:
            work.pop()()
thread = threading.Thread(target=body)
thread.start()
sandbox.close(directory)

def outcome(attempt):
    try:
        return repr(attempt())
    except OSError as error:
        return errno.errorcode[error.errno]
    except threading.ThreadError as error:
        return type(error).__name__

def in_thread(attempt):
    result = []
    work.append(lambda: result.append(outcome(attempt)))
    while not result:
        time.sleep(0.001)
    return result[0]
"""


def inside(tmp_path: Path, body: str, *, prepare: str = "", rooted: bool = False) -> dict[str, Any]:
    """The dict `found` that `body` leaves behind in a child in the sandbox, `rooted` in the folder of its socket."""
    require_root()
    (tmp_path / "socket directory").mkdir(exist_ok=True)
    (tmp_path / "socket directory" / "wg0.sock").touch()
    (tmp_path / "other").touch()
    enter = ENTER.replace("sandbox.drop", "sandbox.enter_root(Folders(directory)); directory = '/'; sandbox.drop")
    enter = enter if rooted else ENTER
    program = prepare + enter + "found = {}\n" + body + "\ndone.set()\nthread.join()\nprint(json.dumps(found))"
    arguments = [str(tmp_path / "socket directory"), str(tmp_path / "other")]
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def needs_seccomp() -> None:
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("no table of system calls for this machine")


ATTEMPTS = """
attempts = {
    "read": lambda: os.open("/etc/shadow", os.O_RDONLY),
    "write": lambda: os.open(other, os.O_WRONLY),
    "create": lambda: os.open(directory + "/new", os.O_WRONLY | os.O_CREAT),
    "list": lambda: os.listdir("/"),
    "rename": lambda: os.rename(other, other + "2"),
    "execute": lambda: os.execv("/bin/true", ["true"]),
    "fork": lambda: os.fork(),
    "signal": lambda: os.kill(os.getppid(), 0),
    "tcp": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "unix": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
    "packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "executable memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
    "another interface": lambda: fcntl.ioctl(tun, 0x400454ca, bytes(40)),
}
"""


def test_nothing_an_intruder_wants(tmp_path: Path) -> None:
    needs_seccomp()
    found = inside(tmp_path, ATTEMPTS + "found = {name: outcome(attempt) for name, attempt in attempts.items()}")
    assert found == dict.fromkeys(found, "EPERM")
    assert len(found) == 13
    assert not (tmp_path / "socket directory" / "new").exists()


def test_nor_in_a_thread_that_was_there_before(tmp_path: Path) -> None:
    needs_seccomp()
    found = inside(tmp_path, ATTEMPTS + "found = {name: in_thread(attempt) for name, attempt in attempts.items()}")
    assert found == dict.fromkeys(found, "EPERM")
    assert len(found) == 13


def test_what_the_daemon_still_does(tmp_path: Path) -> None:
    found = inside(
        tmp_path,
        """
def new_socket():
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.IPPROTO_UDP) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 7)
        sock.setsockopt(socket.SOL_SOCKET, 33, 7 << 20)  # SO_RCVBUFFORCE
        sock.bind(("::1", 0))
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 7 << 20
found["udp"] = outcome(new_socket)
found["privileged port"] = outcome(lambda: socket.socket(
    socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP).bind(("127.1.2.3", 1023)))
found["netlink"] = outcome(lambda: socket.socket(
    socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE).bind((0, 1)))
found["remove our socket"] = outcome(lambda: os.unlink(directory + "/wg0.sock"))
found["random"] = outcome(lambda: len(os.urandom(32)))
found["memory"] = outcome(lambda: len(bytearray(100 << 20)))
found["pipe that is open"] = outcome(lambda: os.write(2, b""))
""",
    )
    assert found == {
        "udp": "True",
        "privileged port": "None",
        "netlink": "None",
        "remove our socket": "None",
        "random": "32",
        "memory": str(100 << 20),
        "pipe that is open": "0",
    }


LOOKS = """
found = {
    "a file of the system": outcome(lambda: os.stat("/etc/passwd").st_size > 0),
    "upwards": outcome(lambda: os.stat("../../../../../etc/passwd").st_size > 0),
    "in proc": outcome(lambda: os.readlink("/proc/self/exe") != ""),
    "in the thread": in_thread(lambda: os.stat("/etc/passwd").st_size > 0),
    "our socket": outcome(lambda: os.stat(directory + "/wg0.sock").st_size),
    "remove our socket": outcome(lambda: os.unlink(directory + "/wg0.sock")),
    "stats": sandbox.stats()["sandbox_root"],
}
"""


@pytest.mark.parametrize("filtered", [True, False])
@pytest.mark.parametrize("rooted", [True, False])
def test_below_an_empty_root_there_is_nothing_to_be_found(tmp_path: Path, rooted: bool, filtered: bool) -> None:
    """Whatever the kernel has besides: a thread that was there before is in the same root."""
    prepare = "" if filtered else NO_FILTER + "from pywg.runtime.confine import landlock\nlandlock.abi = lambda: 0\n"
    found = inside(tmp_path, LOOKS, rooted=rooted, prepare=prepare)
    away = "ENOENT" if rooted else "True"
    if found.pop("in proc") != away:
        assert filtered  # readlink(2) is no call of the daemon's
    assert found == {
        "a file of the system": away,
        "upwards": away,
        "in the thread": away,
        "our socket": "0",
        "remove our socket": "None",
        "stats": int(rooted),
    }


NO_FILTER = "from pywg.runtime.confine import seccomp\nseccomp.restrict = lambda **_: False\n"


def test_landlock_alone(tmp_path: Path) -> None:
    """As on a machine without a table of system calls: the event loop's thread is held all the same."""
    if landlock.abi() == 0:
        pytest.skip("this kernel has no Landlock")
    found = inside(
        tmp_path,
        """
found["read"] = outcome(lambda: os.open("/etc/shadow", os.O_RDONLY))
found["create"] = outcome(lambda: os.open(directory + "/new", os.O_WRONLY | os.O_CREAT))
found["list"] = outcome(lambda: os.listdir("/"))
found["remove another file"] = outcome(lambda: os.unlink(other))
found["execute"] = outcome(lambda: os.execv("/bin/true", ["true"]))
found["remove our socket"] = outcome(lambda: os.unlink(directory + "/wg0.sock"))
found["stats"] = sandbox.stats()
""",
        prepare=NO_FILTER,
    )
    stats = found.pop("stats")
    assert (stats["sandbox_landlock"], stats["sandbox_seccomp"]) == (landlock.abi(), 0)
    assert found == {
        **dict.fromkeys(("read", "create", "list", "remove another file", "execute"), "EACCES"),
        "remove our socket": "None",
    }
    assert (tmp_path / "other").exists()


@pytest.mark.parametrize("since", [1, 2, 3, 4, 5, 6])
def test_older_versions_of_landlock(tmp_path: Path, since: int) -> None:
    """A newer kernel takes what an older one knows."""
    if landlock.abi() < since:
        pytest.skip("this kernel's Landlock is older")
    found = inside(
        tmp_path,
        """
found["read"] = outcome(lambda: os.open("/etc/shadow", os.O_RDONLY))
found["landlock"] = sandbox.stats()["sandbox_landlock"]
""",
        prepare=f"from pywg.runtime.confine import landlock\nlandlock.abi = lambda: {since}\n" + NO_FILTER,
    )
    assert found == {"read": "EACCES", "landlock": since}


def test_a_kernel_without_any_of_it(tmp_path: Path) -> None:
    """Nothing is raised, the log says what is missing, and stats show it."""
    found = inside(
        tmp_path,
        """
found["read"] = outcome(lambda: os.close(os.open("/etc/passwd", os.O_RDONLY)))
found["stats"] = sandbox.stats()
""",
        prepare="""
import errno
from pywg.runtime.confine import landlock
from pywg.runtime.confine import bpf
def refuse(*_): raise OSError(errno.ENOSYS, "Function not implemented")
landlock.syscall = bpf.syscall = refuse
""",
    )
    assert found["read"] == "None"
    assert found["stats"] == {
        "sandbox_no_new_privs": 1,
        "sandbox_capabilities": 1,
        "sandbox_root": 0,
        "sandbox_user": 0,
        "sandbox_net_admin_dropped": 0,
        "sandbox_landlock": 0,
        "sandbox_landlock_threads": 0,
        "sandbox_seccomp": 0,
        "sandbox_seccomp_threads": 0,
        "sandbox_refused": 0,
        "sandbox_refused_last": -1,
        **{f"sandbox_refused_{kind}": 0 for kind in ("loop", "sender", "receiver", "helper")},
        **{f"sandbox_refused_{kind}_last": -1 for kind in ("loop", "sender", "receiver", "helper")},
    }


CAPABILITIES = """
import os
from pywg.runtime.confine import capabilities
capabilities.keep_only({kept})
for line in open("/proc/thread-self/status"):
    if line.startswith("Cap"):
        print(line.split()[1].lstrip("0") or "0")
"""


@pytest.mark.parametrize(("before", "after"), [(None, "1400"), (1 << 12 | 1 << 21, "1000"), (1 << 21, "0")])
def test_capabilities(before: int | None, after: str) -> None:
    """CapInh, CapPrm, CapEff, CapBnd, CapAmb; no capability appears that wasn't there."""
    require_root()
    first = (
        "" if before is None else f"from pywg.runtime.confine import capabilities\ncapabilities.keep_only({before})\n"
    )
    program = first + CAPABILITIES.format(kept=1 << 12 | 1 << 10)
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=os.getcwd())
    inherited, permitted, effective, bounding, ambient = shown.stdout.split()
    assert (inherited, permitted, effective, ambient) == ("0", after, after, "0")
    if before is None:  # after that, nothing may drop more: CAP_SETPCAP is gone, and the bounding set grants nothing
        assert bounding == after


def test_it_can_be_left_out() -> None:
    program = """
from pywg.runtime.base.log import Level, Log
from tests.lines import StreamOutput
from pywg.runtime.confine.sandbox import Sandbox
sandbox = Sandbox(Log("wg0", Level.DEBUG, output=StreamOutput()), enabled=False)
sandbox.begin(); sandbox.drop_privileges(); sandbox.close("/nowhere")
assert set(sandbox.stats().values()) == {0, -1}
assert sandbox.stats()["sandbox_refused_last"] == -1
assert "NoNewPrivs:\\t0" in open("/proc/self/status").read()
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "devices", "raw"), [("5.6.19", True, True), ("5.7.0", True, False), ("5.6.19", False, False)]
)
def test_binding_to_devices_needs_a_capability_of_old_kernels(
    monkeypatch: pytest.MonkeyPatch, text: str, devices: bool, raw: bool
) -> None:
    kept: list[int] = []
    monkeypatch.setattr(kernel, "release", lambda: kernel.parse_release(text))
    monkeypatch.setattr(capabilities, "keep_only", kept.append)
    monkeypatch.setattr("pywg.runtime.confine.sandbox._allow_locked_memory", lambda: None)
    Sandbox(Log("wg0", Level.SILENT, output=StreamOutput()), enabled=True, devices=devices).drop_privileges()
    assert (kept[0] >> CAP_NET_RAW & 1) == raw
