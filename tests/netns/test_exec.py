"""`pywg exec` of a user without privileges, beside a gateway that is wireguard-go."""

import contextlib
import errno
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel.builds import ROOT
from bench.tunnel.site import poll
from tests.pages import blocks_in
from tests.requirements import require_tool

from .exec_world import (
    GATEWAY,
    GATEWAY6,
    HERE,
    HERE6,
    INNER,
    INNER6,
    LINK,
    THERE,
    THERE6,
    USER,
    World,
    world,
)

NOBODYS_PORT = 7441
NAMES = ("inside.test", "intranet.example")
LEFT = "pywg-exec-host"
"""The name of an abstract Unix socket of the machine."""
TELL = "import json, os, pathlib, re, socket, subprocess, sys\n"
WHO = (
    TELL
    + """
lines = pathlib.Path("/proc/self/status").read_text().splitlines()
status = dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)
run = lambda *argv: subprocess.run(argv, capture_output=True, text=True, check=False).stdout
print(json.dumps({
    "ids": [os.getuid(), os.geteuid(), os.getgid()],
    "capabilities": [status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")],
    "privileges": status["NoNewPrivs"].strip(),
    "descriptors": sorted(os.listdir("/proc/self/fd"), key=int),
    "processes": [int(name) for name in os.listdir("/proc") if name.isdigit()],
    "links": [name for _, name in socket.if_nameindex()],
    "addresses": re.findall("inet6? (\\\\S+)", run("ip", "-o", "address", "show", "scope", "global")),
    "routes": run("ip", "-4", "route") + run("ip", "-6", "route"),
    "mtu": re.findall("mtu (\\\\d+)", run("ip", "-o", "link", "show", "dev", sys.argv[1])),
    "resolv": pathlib.Path("/etc/resolv.conf").read_text(),
    "hosts": re.findall("^hosts:.*", pathlib.Path("/etc/nsswitch.conf").read_text(), re.M),
    "resolvers": [path for path in ("/run/nscd", "/run/avahi-daemon", "/run/systemd/resolve") if os.path.exists(path)],
    "name": run("getent", "ahostsv4", "inside.test"),
    "blocked": status["SigBlk"].strip(),
    "folder": os.getcwd(),
}))
"""
)
"""What a command sees of itself, as JSON. Its argument: the interface."""


@pytest.fixture(scope="module")
def _world(pywg: str) -> Iterator[World]:
    with world(pywg) as made:
        yield made


@pytest.fixture
def alone(_world: World) -> Iterator[World]:
    """Each test finds it as it was made, and leaves no process."""
    _world.write()
    yield _world
    _world.nothing_is_left()


@pytest.fixture(scope="module")
def services(_world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Of the gateway: names, a page, and iperf3."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "page").write_text("through the tunnel\n")
    dns = [require_tool("dnsmasq"), "-k", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file="]
    dns += [
        "--user=root",
        f"--listen-address={GATEWAY}",
        "--bind-interfaces",
        *(f"--address=/{name}/{GATEWAY}" for name in NAMES),
    ]
    page = [sys.executable, "-m", "http.server", "--bind", GATEWAY, "--directory", str(folder), "80"]
    null = subprocess.DEVNULL
    for argv in (dns, page, [require_tool("iperf3"), "-s"]):
        _world.far.start(argv, stdout=null, stderr=null)
    for port in ("53", "80", "5201"):
        poll(lambda port=port: f":{port} " in _world.far.run("ss", "-lnut"), f"port {port} is served")  # type: ignore[misc]


def python(code: str, *arguments: str) -> tuple[str, ...]:
    """A command."""
    return sys.executable, "-I", "-c", code, *arguments


@pytest.mark.usefixtures("services")
def test_a_command_has_the_tunnel_and_no_other_network(alone: World) -> None:
    done = alone.run(*python(WHO, alone.interface))
    assert done.status == 0, done
    seen = json.loads(done.out)
    assert seen["ids"] == [USER, USER, USER]
    assert set(seen["capabilities"]) == {"0" * 16}
    assert seen["privileges"] == "1"
    assert seen["descriptors"] == ["0", "1", "2", "3"]  # the last is that of the list
    assert seen["processes"][:2] == [1, 2]
    assert max(seen["processes"]) < 10
    assert seen["links"] == ["lo", alone.interface]
    assert seen["addresses"] == [f"{INNER}/24", f"{INNER6}/64"]
    assert f"default dev {alone.interface}" in seen["routes"]
    assert seen["routes"].count("default") == 2
    assert seen["mtu"] == ["1420"]
    assert seen["resolv"] == f"nameserver {GATEWAY}\nsearch test\n"
    assert set(seen["hosts"][0].split()[1:]) <= {"files", "dns", "myhostname"}
    assert seen["resolvers"] == []
    assert GATEWAY in seen["name"]
    assert seen["blocked"] == "0" * 16
    assert seen["folder"] == "/"
    assert done.err == ""


@pytest.mark.usefixtures("services")
def test_ping_curl_and_iperf3(alone: World) -> None:
    tried = f"ping -qc1 -W5 {GATEWAY} && ping -qc1 -W5 {GATEWAY6} && curl -sS http://inside.test/page && "
    done = alone.run("sh", "-c", tried + f"iperf3 -c {GATEWAY6} --bidir -n 4M -J")
    assert done.status == 0, done
    assert done.out.count(" 0% packet loss") == 2
    assert "through the tunnel" in done.out
    assert '"sum_received_bidir_reverse"' in done.out


@pytest.mark.usefixtures("services")
def test_every_block_of_the_guide(alone: World) -> None:
    blocks = blocks_in((ROOT / "docs/exec.md").read_text())
    assert len(blocks) == 2
    home = Path(tempfile.mkdtemp(prefix="exec-home-"))
    try:
        home.chmod(0o755)
        shutil.move(shutil.copy(alone.file, home), home / "work.conf")
        os.chown(home / "work.conf", USER, USER)
        path = f"PATH={Path(alone.pywg).parent}:$PATH; cd {home}"
        said = alone.near.run(*alone.as_user("sh", "-ec", "\n".join([path, *blocks])))
    finally:
        shutil.rmtree(home)
    assert "Directory listing" in said
    assert " 0% packet loss" in said
    assert "default dev work" in said


LEAKS = """
import contextlib, errno, socket, sys
here, there, here6, there6, link_local, port, name = sys.argv[1:]
tried = 0
def each(family, kind, address, proto=0, send=b"leak"):
    global tried
    with contextlib.suppress(OSError), socket.socket(family, kind, proto) as sock:
        tried += 1
        sock.settimeout(0.2)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.connect(address)
        sock.send(send)
v4, v6 = socket.AF_INET, socket.AF_INET6
for number in (int(port), 53):
    for host in (here, there, "127.0.0.1", "255.255.255.255", "224.0.0.251"):
        each(v4, socket.SOCK_STREAM, (host, number)); each(v4, socket.SOCK_DGRAM, (host, number))
    for scope in (0, 1, 2, 3):
        for host in (here6, there6, link_local, "ff02::1", "::1"):
            each(v6, socket.SOCK_STREAM, (host, number, 0, scope))
            each(v6, socket.SOCK_DGRAM, (host, number, 0, scope))
for host in (here, there):
    each(v4, socket.SOCK_DGRAM, (host, 0), socket.IPPROTO_ICMP, b"\\x08\\0\\0\\0\\0\\1\\0\\1leak")
for host, scope in ((here6, 0), (there6, 0), (link_local, 2), (link_local, 3)):
    each(v6, socket.SOCK_DGRAM, (host, 0, 0, scope), socket.IPPROTO_ICMPV6, b"\\x80\\0\\0\\0\\0\\1\\0\\1leak")
with contextlib.suppress(OSError):
    socket.getaddrinfo("leak.test", 80)
print(tried)
with socket.socket(socket.AF_UNIX) as sock:
    print(errno.errorcode[sock.connect_ex("\\0" + name)] if sock.connect_ex("\\0" + name) else "connected")
"""
"""Tries to reach the machine and its link past a tunnel. Says how often, and whether an abstract socket was there."""


class Listeners:
    """Of the machine: what arrives at its port by TCP or UDP, what of the link's frames is not of the tunnel."""

    def __init__(self, near: World) -> None:
        self._stack = contextlib.ExitStack()
        space, take = near.near, self._stack.enter_context
        self._arriving = []
        for family in (socket.AF_INET, socket.AF_INET6):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                sock = take(space.socket(family, kind))
                sock.setblocking(False)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind(("", NOBODYS_PORT))
                if kind == socket.SOCK_STREAM:
                    sock.listen(64)
                self._arriving.append(sock)
        self._frames = take(space.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)))
        self._frames.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._frames.bind((LINK, 3))
        self._frames.setblocking(False)
        abstract = take(space.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        abstract.bind("\0" + LEFT)
        abstract.listen(64)

    def arrived(self) -> int:
        """How many connections and datagrams have come."""
        count = 0
        for sock in self._arriving:
            with contextlib.suppress(BlockingIOError):
                while True:
                    if sock.type == socket.SOCK_STREAM:
                        sock.accept()[0].close()
                    else:
                        sock.recv(100)
                    count += 1
        return count

    def outgoing(self) -> tuple[list[bytes], int]:
        """(IP packets sent on the link that are none of the tunnel, how many are)."""
        others, ours = [], 0
        with contextlib.suppress(BlockingIOError):
            while True:
                data, (_, protocol, kind, _, _) = self._frames.recvfrom(2000)
                if kind != socket.PACKET_OUTGOING or protocol not in (0x800, 0x86DD):
                    continue
                if protocol == 0x800 and data[9] == socket.IPPROTO_UDP and data[22:24] == struct.pack("!H", 7007):
                    ours += 1
                elif not _is_the_kernels(data, protocol):
                    others.append(data)
        return others, ours

    def close(self) -> None:
        self._stack.close()


def _is_the_kernels(data: bytes, protocol: int) -> bool:
    """Neighbour discovery, and reports of multicast listeners."""
    if protocol != 0x86DD:
        return data[9] == socket.IPPROTO_IGMP
    kind = data[48] if data[6] == 0 else data[40]
    return data[6] in (0, socket.IPPROTO_ICMPV6) and kind in (130, 131, 132, 133, 134, 135, 136, 143)


def test_nothing_gets_out_but_by_the_tunnel(alone: World) -> None:
    link_local = re.findall(r"inet6 (fe80\S+)/64", alone.near.run("ip", "-o", "-6", "address", "show", "dev", LINK))[0]
    tries = python(LEAKS, HERE, THERE, HERE6, THERE6, link_local, str(NOBODYS_PORT), LEFT)
    alone.near.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
    listeners = Listeners(alone)
    with contextlib.closing(listeners):
        outside = alone.near.run(*alone.as_user(*tries), timeout=60).split()
        assert int(outside[0]) > 40
        assert outside[1] == "connected"
        assert listeners.arrived() > 3
        others, ours = listeners.outgoing()
        assert others != []
        assert ours == 0

        done = alone.run(*tries)
        assert done.status == 0, done
        inside = done.out.split()
        assert int(inside[0]) > 40
        assert inside[1] == "ECONNREFUSED"
        assert listeners.arrived() == 0
        others, ours = listeners.outgoing()
        assert others == []
        assert ours > 10


RESOLVERS = (
    *("nscd/socket", "avahi-daemon/socket", "dbus/system_bus_socket", "mDNSResponder"),
    *("systemd/resolve/io.systemd.Resolve", "systemd/resolve/io.systemd.Resolve.Monitor"),
)
"""In /run: sockets by which programs of the machine can be asked for names."""
OTHERS = ("other/socket", "systemd/other")
"""The control: sockets of programs that answer for no name."""
CONNECT = """
import json, socket, sys
reached = []
for path in sys.argv[1:]:
    with socket.socket(socket.AF_UNIX) as sock:
        if sock.connect_ex(path) == 0:
            reached.append(path)
print(json.dumps(reached))
"""


def test_no_program_outside_is_asked_for_names(alone: World) -> None:
    """Each has a socket in /run, of which that of D-Bus leads to several."""
    run = Path(tempfile.mkdtemp(prefix="exec-run-"))
    within = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /run && exec "$@"', str(run)]
    asked = python(CONNECT, *(f"{folder}/{name}" for folder in ("/run", "/var/run") for name in (*RESOLVERS, *OTHERS)))

    def reached(argv: list[str]) -> set[str]:
        argv = ["ip", "netns", "exec", alone.near.name, *within, *argv]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/", timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return {path.removeprefix("/var").removeprefix("/run/") for path in json.loads(done.stdout)}

    called = set()

    def answer(name: str, sock: socket.socket) -> None:
        """Hangs up at once: who asks, as glibc outside does, waits for nothing."""
        with contextlib.suppress(OSError):
            while True:
                sock.accept()[0].close()
                called.add(name)

    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, run)
        run.chmod(0o755)
        for name in (*RESOLVERS, *OTHERS):
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.bind(str(run / name))
            (run / name).chmod(0o777)
            sock.listen(64)
            threading.Thread(target=answer, args=(name, sock), daemon=True).start()
            stack.callback(sock.shutdown, socket.SHUT_RDWR)
        assert reached(alone.as_user(*asked)) == {*RESOLVERS, *OTHERS}
        assert called == {*RESOLVERS, *OTHERS}
        assert reached(alone.exec(*asked)) == {*OTHERS}


HOSTILE = """
import ctypes, errno, fcntl, json, os, signal, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
said = {}
def tried(name, what):
    try:
        said[name] = repr(what())
    except OSError as error:
        said[name] = errno.errorcode[error.errno]
def call(name, *arguments):
    def made():
        if getattr(libc, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), "")
    return made
def attach(name):
    def made():
        fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x5001))
    return made
init = sys.argv[2]
for name in ("mem", "maps", "environ", "auxv", "syscall"):
    tried(name, lambda name=name: open(f"/proc/{init}/{name}", "rb").read(1))
for name in ("fd", "fdinfo", "task/" + init + "/fd"):
    tried(name, lambda name=name: os.listdir(f"/proc/{init}/{name}"))
for name in ("ns/net", "ns/user", "ns/mnt", "root", "cwd", "exe"):
    tried(name, lambda name=name: os.open(f"/proc/{init}/{name}", os.O_RDONLY))
tried("attach", call("ptrace", 16, int(init), 0, 0))
tried("seize", call("ptrace", 0x4206, int(init), 0, 0))
buffer = ctypes.create_string_buffer(8)
vector = struct.pack("@PN", ctypes.addressof(buffer), 8)
tried("readv", call("process_vm_readv", int(init), vector, 1, vector, 1, 0))
tried("mounts", call("unshare", 0x20000))
tried("uncover", call("umount2", b"/etc", 2))
tried("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
tried("packets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
tried("queue", attach(sys.argv[1]))
tried("device", attach("other0"))
tried("overwrite", lambda: open("/etc/resolv.conf", "w"))
tried("instead", lambda: open("/etc/new", "w"))
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGSTOP, signal.SIGKILL):
    os.kill(int(init), number)
tried("below", call("unshare", 0x10000000 | 0x20000))
tried("below uncover", call("umount2", b"/etc", 2))
tried("below proc", call("umount2", b"/proc", 2))
print(json.dumps(said))
"""
"""What a command may try against the processes and the network around it, as JSON. Arguments: the interface, a PID."""
DENIED = {"EPERM", "EACCES", "EBUSY", "EROFS", "EINVAL", "ENOENT"}


def test_a_hostile_command_reaches_neither_keys_nor_network(alone: World) -> None:
    done = alone.run(*python(HOSTILE, alone.interface, "1"))
    assert done.status == 0, done
    said = json.loads(done.out)
    assert said.pop("below") == "None"  # a user may always make namespaces below its own
    allowed = {name: answer for name, answer in said.items() if answer not in DENIED}
    assert allowed == {}
    assert said["queue"] == "EBUSY"
    assert said["mem"] == "EACCES"
    assert said["below uncover"] == said["below proc"] == "EINVAL"

    # The control: the same of a process that it may do it to.
    done = alone.run("sh", "-c", f'sleep 100 & exec "$@" {alone.interface} $!', "sh", *python(HOSTILE)[:4])
    said = json.loads(done.out)
    assert said["attach"] == "None"
    assert said["mem"] not in DENIED
    assert said["ns/net"] not in DENIED


PLANTED = {
    "the machine's network": (
        "from pywg.manage.exec import outside\nimport subprocess\n"
        "outside.run = lambda target, command, daemon: subprocess.call(command)",
        test_nothing_gets_out_but_by_the_tunnel,
    ),
    "sockets of resolvers": (
        "from pywg.manage.exec import mounts\nas_it_is = mounts.replace\n"
        "mounts.replace = lambda folder, files, without: as_it_is(folder, files, without=())",
        test_no_program_outside_is_asked_for_names,
    ),
}
"""Faults in `pywg exec`: statements before it begins, and the test that has to find them."""


@pytest.mark.parametrize("fault", PLANTED)
def test_a_fault_that_is_planted_is_found(fault: str, alone: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The instrument: each of these tests fails where what it looks for is so."""
    statements, finds = PLANTED[fault]
    folder = Path(tempfile.mkdtemp(prefix="exec-planted-"))
    try:
        folder.chmod(0o755)
        program = folder / "pywg"
        program.write_text(
            f"#!{sys.executable}\n{statements}\nimport sys\nfrom pywg.__main__ import main\nsys.exit(main())\n"
        )
        program.chmod(0o755)
        monkeypatch.setattr(alone, "pywg", str(program))
        with pytest.raises(AssertionError):
            finds(alone)
    finally:
        shutil.rmtree(folder)


def daemon_of(world: World, root: int) -> int:
    """The process of the daemon: the child of `root` in a session of its own."""
    children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    (found,) = [int(pid) for pid in children if os.getsid(int(pid)) == int(pid)]
    return found


def begun(world: World, *command: str, uid: int = USER) -> "subprocess.Popen[str]":
    """`pywg exec` with a command that has said a line."""
    process = world.begin(*command, uid=uid)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == "begun\n", (line, process.stderr.read() if process.stderr else "")
    return process


def test_the_daemon_is_outside_confined_and_closed_to_its_own_user(alone: World) -> None:
    process = begun(alone, "sh", "-c", "echo begun; exec sleep 100")
    try:
        daemon = daemon_of(alone, process.pid)
        status = Path(f"/proc/{daemon}/status").read_text()
        assert re.search(r"^CapEff:\t0{13}[04]00$", status, re.M)
        assert re.search(r"^Seccomp:\t2$", status, re.M)
        assert re.search(r"^NoNewPrivs:\t1$", status, re.M)
        assert os.readlink(f"/proc/{daemon}/ns/net") == f"net:[{alone.near.path.stat().st_ino}]"
        assert os.listdir(f"/proc/{daemon}/root") == []
        look = "import sys\nfor name in ('mem', 'maps', 'environ'):\n try:\n"
        look += "  open(f'/proc/{sys.argv[1]}/{name}', 'rb').read(1)\n"
        look += "  print('read')\n except OSError as error:\n  print(error.errno)\n"
        for pid in (process.pid, daemon):
            seen = alone.near.run(*alone.as_user(*python(look, str(pid)))).split()
            assert seen == [str(errno.EACCES)] * 3
        own = subprocess.Popen(alone.as_user("sleep", "100"))  # the control
        poll(lambda: Path(f"/proc/{own.pid}/comm").read_text() == "sleep\n", "it sleeps")
        assert alone.near.run(*alone.as_user(*python(look, str(own.pid)))).split()[1:] == ["read"] * 2
        own.kill()
        own.wait()
        sockets = Path(f"/proc/{daemon}/net/unix").read_text()
        assert alone.interface not in sockets
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        (("sh", "-c", "exit 7"), 7, ""),
        (("/nowhere/at-all",), 127, "pywg: /nowhere/at-all: No such file or directory\n"),
        (("/etc/passwd",), 126, "pywg: /etc/passwd can't be executed: Permission denied\n"),
        (("sh", "-c", "kill -KILL $$"), 137, ""),
        (("sh", "-c", "kill -HUP $$"), -signal.SIGHUP, ""),
    ],
    ids=["seven", "missing", "not executable", "killed", "hung up"],
)
def test_the_status_is_the_commands(alone: World, command: tuple[str, ...], status: int, said: str) -> None:
    alone.write(endpoint="203.0.113.9")
    done = alone.run(*command)
    assert (done.status, done.err) == (status, said)


def test_signals_reach_the_command(alone: World) -> None:
    counting = (
        "trap 'echo usr1' USR1; trap 'echo term; exit 3' TERM; trap '' INT; echo begun; while :; do sleep 0.05; done"
    )
    process = begun(alone, "sh", "-c", counting)
    assert process.stdout is not None
    for number, line in ((signal.SIGUSR1, "usr1\n"), (signal.SIGTERM, "term\n")):
        process.send_signal(number)
        assert process.stdout.readline() == line
    assert process.wait(10) == 3


@pytest.mark.parametrize("of", ["outside", "inside", "command"])
def test_a_kill_leaves_nothing(alone: World, of: str) -> None:
    # What the command leaves behind ignores all that can be ignored, and is in a session of its own.
    stubborn = "trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM HUP INT; echo begun; sleep 1000' & wait; sleep 1000"
    process = begun(alone, "sh", "-c", stubborn)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (inner,) = [int(pid) for pid in children if int(pid) != daemon_of(alone, process.pid)]
    command = int(Path(f"/proc/{inner}/task/{inner}/children").read_text().split()[0])
    assert len(alone.processes()) >= 5
    os.kill({"outside": process.pid, "inside": inner, "command": command}[of], signal.SIGKILL)
    assert process.wait(10) == (-signal.SIGKILL if of == "outside" else 128 + signal.SIGKILL)
    alone.nothing_is_left()


def test_the_end_of_the_daemon_is_the_end_of_the_network(alone: World) -> None:
    gone = f"while ip link show {alone.interface} >/dev/null 2>&1; do :; done; echo gone; while :; do sleep 0.05; done"
    process = begun(alone, "sh", "-c", f"trap 'exit 9' TERM; echo begun; {gone}")
    assert process.stdout is not None
    assert process.stderr is not None
    os.kill(daemon_of(alone, process.pid), signal.SIGKILL)
    assert process.stderr.readline() == "pywg: the daemon has ended (SIGKILL): sh has no network any more\n"
    assert process.stdout.readline() == "gone\n"
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 9


def test_what_the_file_says_and_is_not_done_is_told(alone: World) -> None:
    hook = alone.folder / "hooked"
    more = f"Table = 77\nFwMark = 5\nPostUp = touch {hook}\nSaveConfig = true\nListenPort = 7999"
    alone.write(more=more, allowed=f"{GATEWAY}/32")
    done = alone.run("ip", "route")
    assert done.status == 0
    assert f"default dev {alone.interface}" not in done.out
    notes = done.err.splitlines()
    assert [line.split()[2].rstrip(",") for line in notes[:4]] == ["Table", "FwMark", "PostUp", "SaveConfig"]
    assert "names may not resolve inside" in notes[4]
    assert not hook.exists()


def test_a_file_of_ipv6_alone_over_ipv6(alone: World) -> None:
    alone.write(address=f"{INNER6}/64", allowed="::/0", endpoint=THERE6, more="MTU = 1380")
    done = alone.run("sh", "-c", f"ping -qc1 -W5 {GATEWAY6} && cat /sys/class/net/*/mtu; ip -4 route; ip -o link")
    assert " 0% packet loss" in done.out, done
    assert "mtu 1380" in done.out
    assert "default dev" not in done.out


@pytest.mark.parametrize(
    ("write", "said"),
    [
        ({"more": "Adress = 1.2.3.4/5"}, "unknown|Adress"),
        ({"endpoint": "no.such.name.invalid"}, "no.such.name.invalid"),
        ({"address": f"{INNER}/24, {INNER}/16", "allowed": GATEWAY, "more": "MTU = 100000"}, "100000|MTU"),
    ],
    ids=["line", "name", "value"],
)
def test_a_file_that_cannot_be_used_starts_nothing(alone: World, write: dict[str, str], said: str) -> None:
    alone.write(**write)
    process = alone.begin("echo", "started", environ={"WG_ENDPOINT_RESOLUTION_RETRIES": "0"})
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert re.search(said, err)
    assert err.startswith("pywg: ")


def test_a_port_that_is_taken_is_told(alone: World) -> None:
    alone.write(more="ListenPort = 7998")
    with alone.near.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 7998))
        done = alone.run("echo", "started")
    assert (done.status, done.out) == (1, "")
    assert "Address already in use" in done.err


def test_a_port_that_needs_a_privilege_is_told_with_what_to_do(alone: World) -> None:
    alone.write(more="ListenPort = 80")
    alone.near.run("sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=1024")
    for uid in (USER, 0):
        done = alone.run("echo", "started", uid=uid)
        assert (done.status, done.out) == (1, "")
        assert re.match(
            rf"pywg: {alone.file}:4:\d+: ListenPort: .* remove ListenPort, or take a higher one\n", done.err
        )
        assert "CAP_" not in done.err


def test_root_is_a_root_without_privileges(alone: World) -> None:
    """Signals that the caller ignores, as a shell does for what it runs beside itself, are all that is ignored."""
    own = re.search(r"SigIgn:\t(\w+)", Path("/proc/self/status").read_text())
    assert own is not None
    ignored = int(own[1], 16)
    for pythons in (signal.SIGPIPE, signal.SIGXFSZ):
        ignored &= ~(1 << pythons - 1)
    done = alone.run(
        "sh",
        "-c",
        f"id -u; grep -E 'CapEff|SigIgn' /proc/self/status; ping -qc1 -W5 {GATEWAY}; mount -t tmpfs x /mnt",
        uid=0,
    )
    assert done.out.startswith(f"0\nSigIgn:\t{ignored:016x}\nCapEff:\t{0:016}\n"), done
    assert " 0% packet loss" in done.out
    assert done.status != 0


def test_where_namespaces_are_off_it_names_the_knob(alone: World) -> None:
    # The limit is of the user namespace in which it is set, here one below the machine's.
    os.chown(alone.file, 0, 0)
    off = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    within = ["unshare", "--user", "--map-root-user", "sh", "-c", off, "sh", alone.pywg, "exec", str(alone.file)]
    done = subprocess.run([*within, "--", "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "pywg: this needs namespaces of its own, and can't have them: user.max_user_namespaces is 0; "
        "`sysctl user.max_user_namespaces=15000`, as root, allows them\n"
    )


class Terminal:
    """A shell at a terminal, as a user has it."""

    def __init__(self, world: World) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["PS1"] = "ready> "
            os.environ["HISTFILE"] = ""
            shell = world.as_user("bash", "--norc", "--noprofile", "-i")
            os.execvp("ip", ["ip", "netns", "exec", world.near.name, *shell])
        self.heard = ""

    def until(self, text: str) -> str:
        """All that it says up to a text, since the last."""
        end = time.monotonic() + 30
        while text not in self.heard:
            assert time.monotonic() < end, self.heard
            if select.select([self.fd], [], [], 1)[0]:
                self.heard += os.read(self.fd, 4096).decode(errors="replace")
        before, _, self.heard = self.heard.partition(text)
        return before

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.close(self.fd)
        os.waitpid(self.pid, 0)


def test_at_a_terminal(alone: World) -> None:
    alone.write(endpoint="203.0.113.9")
    terminal = Terminal(alone)
    call = f"{alone.pywg} exec {alone.file} --"
    with contextlib.closing(terminal):
        terminal.until("ready> ")
        # Ctrl-C ends the command, and a script of the shell's with it.
        terminal.type(f"for i in 1 2; do {call} sh -c 'echo be''gun; exec cat'; done; echo status $?\n")
        terminal.until("begun")
        terminal.type("\x03")
        assert "begun" not in terminal.until("ready> ")
        # Ctrl-Z stops it, and fg goes on.
        terminal.type(f"{call} sh -c 'echo be''gun; read line; echo heard $line; exit 5'\n")
        terminal.until("begun")
        terminal.type("\x1a")
        terminal.until("Stopped")
        terminal.until("ready> ")
        terminal.type("fg\n")
        terminal.until("read line")  # the shell says what goes on
        terminal.type("words\n")
        terminal.until("heard words")
        terminal.until("ready> ")
        terminal.type("echo status $?\n")
        terminal.until("status 5")
        # A shell inside has jobs of its own, and gives the terminal back.
        terminal.type(f"PS1='inner> ' {call} bash --norc --noprofile -i\n")
        terminal.until("inner> ")
        terminal.type("sh -c 'echo sle''eps; exec cat'\n")
        terminal.until("sleeps")
        terminal.type("\x1a")
        terminal.until("Stopped")
        terminal.until("inner> ")
        terminal.type("kill -STOP $$\n")
        terminal.until("ready> ")
        terminal.type("fg; echo status $?\n")
        terminal.until("inner> ")
        terminal.type("exit 4\n")
        terminal.until("There are stopped jobs")
        terminal.until("inner> ")
        terminal.type("exit 4\n")
        terminal.until("status 4")
        terminal.until("ready> ")
        terminal.type("echo rea''ds; read line; echo got $line\n")
        terminal.until("reads")
        terminal.type("more\n")
        terminal.until("got more")
