"""What the command of `pywg exec` can't reach: the machine's network, keys, the processes around it.

Each try is made from outside too, or with a fault that is planted, and succeeds there.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from bench.tunnel.site import poll
from tests.processes import waits_in

from .world import HERE, HERE6, LINK, THERE, THERE6, World, begun, daemon_of, python

NOBODYS_PORT = 7441
LEFT = "pywg-exec-host"
"""The name of an abstract Unix socket of the machine."""
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
        poll(lambda: called == {*RESOLVERS, *OTHERS}, "each has been called")
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
        poll(lambda: waits_in(own.pid, "sleep"), "it sleeps")
        assert alone.near.run(*alone.as_user(*python(look, str(own.pid)))).split()[1:] == ["read"] * 2
        own.kill()
        own.wait()
        sockets = Path(f"/proc/{daemon}/net/unix").read_text()
        assert alone.interface not in sockets
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == -signal.SIGTERM
