"""A user without privileges at one end of a link, for `pywg exec`, and a gateway at the other, which is wireguard-go.

The user's end has a /dev/net/tun that every user may open, as Debian has it, in a mount namespace of its own.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.tunnel.command import run
from bench.tunnel.namespace import Namespace
from bench.tunnel.site import UAPI_DIR, poll
from tests.requirements import require_tool

USER = 20_000 + os.getpid() % 40_000
"""Of no account, and of this session of the tests alone."""
HERE, THERE = "198.51.100.1", "198.51.100.2"
HERE6, THERE6 = "2001:db8:5::1", "2001:db8:5::2"
INNER, GATEWAY = "10.9.7.1", "10.9.7.2"
INNER6, GATEWAY6 = "fd00:9:7::1", "fd00:9:7::2"
LINK = "uplink"
_PORT = 7007
_TUN = 'mount -t tmpfs -o size=64k,mode=755 pywg "$0" && mknod "$0/tun" c 10 200 && chmod 666 "$0/tun" && '
_TUN += 'mount --bind "$0/tun" /dev/net/tun && exec "$@"'
_RUN_S = 90.0


class World:
    """Both ends, the keys, and the user's folder with the file."""

    def __init__(self, near: Namespace, far: Namespace, folder: Path, pywg: str) -> None:
        self.near, self.far, self.folder = near, far, folder
        self.device = folder / "dev"
        self.device.mkdir()
        self.pywg = pywg
        self.keys = [run("wg", "genkey").strip() for _ in range(2)]
        self.public = [run("wg", "pubkey", stdin=key).strip() for key in self.keys]
        tag = secrets.token_hex(4)
        self.file, self.gateway = folder / f"x{tag}.conf", f"x{tag}g"
        self.interface = self.file.stem

    def write(
        self,
        *,
        address: str = f"{INNER}/24, {INNER6}/64",
        allowed: str = "0.0.0.0/0, ::/0",
        endpoint: str = THERE,
        more: str = f"DNS = {GATEWAY}, test",
    ) -> Path:
        """The file, as the user has it."""
        host = f"[{endpoint}]" if ":" in endpoint else endpoint
        self.file.write_text(
            f"[Interface]\nPrivateKey = {self.keys[0]}\nAddress = {address}\n{more}\n"
            f"[Peer]\nPublicKey = {self.public[1]}\nEndpoint = {host}:{_PORT}\nAllowedIPs = {allowed}\n"
        )
        self.file.chmod(0o600)
        os.chown(self.file, USER, USER)
        return self.file

    def begin_gateway(self) -> None:
        """wireguard-go at the far end."""
        self.far.run(require_tool("wireguard-go"), self.gateway)
        self.far.run("wg", "set", self.gateway, "private-key", "/dev/stdin", stdin=self.keys[1])
        peer = ("peer", self.public[0], "allowed-ips", f"{INNER}/32,{INNER6}/128")
        self.far.run("wg", "set", self.gateway, "listen-port", str(_PORT), *peer)
        self.far.run("ip", "address", "add", f"{GATEWAY}/24", "dev", self.gateway)
        self.far.run("ip", "address", "add", f"{GATEWAY6}/64", "dev", self.gateway, "nodad")
        self.far.run("ip", "link", "set", self.gateway, "up")

    def as_user(self, *argv: str, uid: int = USER) -> list[str]:
        """The command line by which the user runs one, to be run in the near namespace."""
        user = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"] if uid else []
        return ["unshare", "--mount", "sh", "-c", _TUN, str(self.device), *user, *argv]

    def exec(self, *command: str, options: Sequence[str] = (), uid: int = USER) -> list[str]:
        """`pywg exec`, as the user types it."""
        return self.as_user(self.pywg, "exec", *options, str(self.file), "--", *command, uid=uid)

    def begin(
        self, *command: str, environ: Mapping[str, str] | None = None, uid: int = USER, options: Sequence[str] = ()
    ) -> "subprocess.Popen[str]":
        """Starts `pywg exec`, whose process is the one that is returned."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.near.name, *self.exec(*command, options=options, uid=uid)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            env={**os.environ, **(environ or {})},
        )

    def run(self, *command: str, uid: int = USER, options: Sequence[str] = ()) -> "Done":
        """Runs it to its end."""
        process = self.begin(*command, uid=uid, options=options)
        out, err = process.communicate(timeout=_RUN_S)
        return Done(process.returncode, out, err)

    def processes(self, uid: int = USER) -> list[int]:
        """All of the user's."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if path.stat().st_uid == uid or f"\nUid:\t{uid}\t" in (path / "status").read_text():
                    found.append(int(path.name))
        return found

    def nothing_is_left(self) -> None:
        """Neither a process, nor an interface, nor a file."""
        poll(lambda: self.processes() == [], f"no process is left of {self.processes()}")
        assert self.interface not in self.near.run("ip", "-o", "link")
        assert sorted(path.name for path in self.folder.iterdir()) == [self.device.name, self.file.name]
        assert _left() == []


def _left() -> list[Path]:
    """The files of the user among those that every test may make and remove meanwhile."""
    found = []
    for path in Path(tempfile.gettempdir()).glob("pywg-*"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_uid == USER:
                found.append(path)
    return found


class Done:
    """What `pywg exec` has come to."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    def __repr__(self) -> str:
        return f"status {self.status}\n{self.out}\n{self.err}"


@contextlib.contextmanager
def world(pywg: str) -> Iterator[World]:
    """Both ends, and nothing of them afterwards."""
    tag = secrets.token_hex(3)
    near, far = spaces = [Namespace(f"exec-{tag}-{side}") for side in ("near", "far")]
    folder = Path(tempfile.mkdtemp(prefix="exec-"))
    made = World(near, far, folder, pywg)
    try:
        folder.chmod(0o755)
        for space in spaces:
            space.create()
        near.run("ip", "link", "add", LINK, "type", "veth", "peer", "name", LINK, "netns", far.name)
        for space, address, address6 in ((near, HERE, HERE6), (far, THERE, THERE6)):
            space.run("ip", "address", "add", f"{address}/24", "dev", LINK)
            space.run("ip", "address", "add", f"{address6}/64", "dev", LINK, "nodad")
            space.run("ip", "link", "set", LINK, "up")
        made.begin_gateway()
        yield made
    finally:
        for pid in made.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        for space in spaces:
            space.remove()
        shutil.rmtree(folder, ignore_errors=True)
        for path in UAPI_DIR.glob(f"{made.gateway}.*"):
            path.unlink(missing_ok=True)


def python(code: str, *arguments: str) -> tuple[str, ...]:
    """A command."""
    return sys.executable, "-I", "-c", code, *arguments


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
