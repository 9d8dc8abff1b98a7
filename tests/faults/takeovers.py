"""Takeovers (`pywg upgrade`) in which one system call of the new daemon, the first, the second ..., is refused.

From the first line of the command on until the new daemon has its sandbox, packets go both ways. What may become of it:
the new daemon serves, whole, and the old one has ended; or one line says what can't be had, and the old one serves on
with its session. Either way no counter was used twice, which the far end would take for a replay, the peers see no
handshake, and no process, descriptor or memory of a parcel is left.
"""

import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

from bench.tunnel.implementations import find
from bench.tunnel.lab import Lab
from bench.tunnel.site import Site
from tests.faults.calls import LIBUV, ROOT, SANDBOX
from tests.faults.injector import ANY, Arguments, Injector
from tests.faults.opened import Opened
from tests.faults.starts import MOST, each_nth, faults_of_text
from tests.processes import has_ended, read
from tests.runtime.daemon.test_service import environment

PATIENCE_S = 20.0
SESSION_S = 115
"""Seconds after which a session's initiator may begin the next one by itself."""
_NAME = "pywg"
_PORT = 9
_NO_WORD = "without a word"
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Takeover:
    """What became of one: `outcome` is "takes over" or "serves on", and `text` the command's standard error."""

    outcome: str
    text: str
    tells: tuple[str, ...]
    """lines of it, and of the log, without what differs from run to run"""
    refused: int
    matched: int
    faults: tuple[str, ...]
    """what should not have been, in words"""
    ended_by_libuv: bool
    """the new daemon, while the old one went on"""


@dataclass(frozen=True, slots=True)
class _Before:
    pid: int
    processes: set[int]
    descriptors: int
    handshake: int
    replayed: int
    logged: int


class Takeovers(Opened):
    """A tunnel whose near daemon is replaced again and again; after a fault by another one that was started anew."""

    def __init__(self, shards: int = 1) -> None:
        self.injector = Injector()
        self.shards = shards
        self._directory = tempfile.TemporaryDirectory(prefix="pywg-takeovers-")
        self._log = Path(self._directory.name, "log")
        self._said = Path(self._directory.name, "stderr")
        plain = find("pywg")
        options = ("--log-file", str(self._log), "--shards", str(shards))
        near = replace(plain, command=(*plain.command, *options))
        self._lab = Lab(near, plain)
        self._most_descriptors = 0
        """that a new daemon has where nothing fails"""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.callback(self._directory.cleanup)
            stack.enter_context(self._lab)
            command = [*self.injector.command, sys.executable, "-m", "tests.faults.start_server", _NAME]
            with self._lab.near.namespace.entered():
                self._server = subprocess.Popen(
                    command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT
                )
            stack.callback(self._end_server)
            self._join()
            usual = self.one("brk", 0, skip=1 << 40)
            assert usual.outcome == "takes over", usual
            assert usual.faults == (), usual
            self._most_descriptors = _descriptors(self._pid())
            self._stack = stack.pop_all()
        return self

    def _end_server(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(PATIENCE_S)

    def nth(
        self, call: str, code: int, *, kind: int = ANY, arguments: Arguments = (), most: int = MOST
    ) -> Iterator[tuple[int, Takeover]]:
        """(n, the takeover whose nth call fails): see each_nth."""
        return each_nth(partial(self.one, call, code, kind=kind, arguments=arguments), most)

    def one(
        self,
        call: str,
        code: int,
        *,
        skip: int = 0,
        most: int = 0,
        kind: int = ANY,
        arguments: Arguments = (),
    ) -> Takeover:
        """One takeover."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        near, faults = self._lab.near, []
        before = self._before()
        self.injector.spare(before.pid)
        with self.injector.failing(
            call, code, skip=skip, most=most, kind=kind, thread=_NAME, arguments=arguments
        ) as rule:
            self._server.stdin.write(json.dumps([["upgrade", near.interface], str(self._said)]) + "\n")
            self._server.stdin.flush()
            command = int(self._server.stdout.readline())
            if not self._until(lambda: self._has_ended(command)):
                faults.append("hangs")
                os.kill(command, signal.SIGKILL)
            status = int(self._server.stdout.readline())
            if not self._until(lambda: self._is_quiet(before)):
                new = self._processes() - before.processes
                names = sorted(read(one, "comm").decode().strip() for one in new)
                faults.append(f"{len(new)} new processes: {names}")
            pid = self._served_by(before)
            outcome = "serves on" if pid == before.pid else "takes over"
            if (
                outcome == "takes over"
                and pid
                and call not in SANDBOX
                and not self._is_confined(rooted=call not in ROOT)
            ):
                faults.append("the sandbox is open")
            refused, matched = rule.failed, rule.matched
        text = self._said.read_text()
        by_libuv = call in LIBUV and outcome == "serves on" and _NO_WORD in text
        if by_libuv:
            text = "".join(line for line in text.splitlines(keepends=True) if _NO_WORD in line)
        if status not in ((0, 1) if outcome == "takes over" else (1,)):
            faults.append(f"exit status {status}")
        faults += faults_of_text(text, "refused" if status else "starts")
        faults += self._faults(before, pid, unmapped=call != "munmap")
        if faults:
            self._restart()
        logged = self._log.read_bytes()[before.logged :].decode(errors="replace")
        tells = tuple(dict.fromkeys(map(self._plain, (text + logged).splitlines())))
        return Takeover(outcome, text, tells, refused, matched, tuple(faults), by_libuv)

    def _faults(self, before: _Before, pid: int, *, unmapped: bool) -> list[str]:
        """Of the daemon that serves now. `unmapped`: memory can be given back."""
        if not pid:
            return ["no daemon serves"]
        faults = []
        if not self._until(self._carries, 0.0):
            return ["it carries no packets"]
        if (handshake := self._handshake()) != before.handshake and handshake - before.handshake < SESSION_S:
            faults.append("another handshake")
        if replayed := self._replayed() - before.replayed:
            faults.append(f"{replayed} counters used twice")
        most = before.descriptors if pid == before.pid else self._most_descriptors
        if most and not self._until(lambda: _descriptors(pid) <= most):
            faults.append(f"{_descriptors(pid)} descriptors, and not {most}")
        if unmapped and "memfd:pywg" in Path(f"/proc/{pid}/maps").read_text():
            faults.append("a parcel is left")
        if (has := self._lab.near.stats()["shards"]) != str(self.shards):
            faults.append(f"{has} shards, and not {self.shards}")
        return faults

    def _before(self) -> _Before:
        pid = self._pid()
        logged = self._log.stat().st_size
        return _Before(pid, self._processes(), _descriptors(pid), self._handshake(), self._replayed(), logged)

    def _is_quiet(self, before: _Before) -> bool:
        """One daemon, the old or a new one, and nothing of the others is left; or there is none."""
        self._send()
        now = self._processes()
        return now < before.processes or (len(now) == len(before.processes) and bool(self._pid()))

    def _pid(self) -> int:
        """The process that answers; 0: none does."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(self._lab.near.uapi_socket))
            return int(struct.unpack("=3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
        return 0

    def _has_ended(self, pid: int) -> bool:
        self._send()
        return has_ended(pid)

    def _served_by(self, before: _Before) -> int:
        """The socket keeps the number of the process that has called listen(2) last."""
        new = self._processes() - before.processes
        return new.pop() if len(new) == 1 and has_ended(before.pid) else self._pid()

    def _processes(self) -> set[int]:
        """Of the near namespace."""
        there, found = self._lab.near.namespace.path.stat().st_ino, set()
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{pid}/ns/net").st_ino == there:
                    found.add(pid)
        return found

    def _is_confined(self, *, rooted: bool) -> bool:
        wanted = {"sandbox_seccomp=1"} | ({"sandbox_root=1"} if rooted else set())

        def closed() -> bool:
            with contextlib.suppress(OSError):
                return wanted <= set(self._lab.near.uapi("stats=1", PATIENCE_S).splitlines())
            return False

        return self._until(closed)

    def _handshake(self) -> int:
        """When the far end had the last one."""
        found = re.search(r"last_handshake_time_sec=(\d+)", self._lab.far.uapi("get=1"))
        return int(found[1]) if found else 0

    def _replayed(self) -> int:
        return int(self._lab.far.stats()["counter_rx_replayed"])

    # Packets

    def _join(self) -> None:
        self._sockets = []
        for site in self._lab.sites:
            sock = site.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.bind((site.inner(4), _PORT))
            self._sockets.append(sock)
        assert self._until(self._carries)

    def _send(self, data: bytes = bytes(8)) -> None:
        near, far = self._lab.sites
        for sock, target in zip(self._sockets, (far, near), strict=True):
            with contextlib.suppress(OSError):
                sock.sendto(data, (target.inner(4), _PORT))

    def _carries(self) -> bool:
        """Packets that are sent from now on arrive, both ways."""
        number = struct.pack("=Q", time.monotonic_ns())
        arrived: set[socket.socket] = set()

        def arrive() -> bool:
            self._send(number)
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    while data := sock.recv(64):
                        if data == number:
                            arrived.add(sock)
            return len(arrived) == len(self._sockets)

        return self._until(arrive)

    def _until(self, condition: Callable[[], bool], within_s: float = PATIENCE_S) -> bool:
        end = time.monotonic() + within_s
        while not condition():
            if time.monotonic() >= end:
                return False
            time.sleep(0.002)
        return True

    def _restart(self) -> None:
        """Another daemon, under no injector and with no past."""
        near: Site = self._lab.near
        for pid in self._processes():
            if read(pid, "comm").startswith(_NAME.encode()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if near.daemon is not None:
            near.daemon.wait(PATIENCE_S)
        self._until(lambda: near.interface not in near.ip("-o", "link"))
        for sock in self._sockets:
            sock.close()
        near.start()
        near.configure(self._lab.mtu)
        near.add_peer(self._lab.far, endpoint=4)
        self._join()

    def _plain(self, line: str) -> str:
        line = re.sub(r"^(\w+): \(\S+\) \S+ \S+ ", r"", line.replace(self._lab.near.interface, "wg0"))
        line = re.sub(r"[\d.]+ ms", "N ms", re.sub(r"/\S*/", "", line))
        return re.sub(r"peer\(\S+\)", "peer(...)", re.sub(r"\b\d{3,}\b", "N", line))


def _descriptors(pid: int) -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0
