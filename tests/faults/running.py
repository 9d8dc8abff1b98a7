"""A tunnel whose near daemon runs under the injector, and one fault at a time while packets and changes go through it.

Everything that makes the daemon call the kernel is done over and over: packets both ways, `get`, a new listen port, the
link down and up, peers that come and go, handshakes. What a fault may cost is what it hits. The daemon has to live, to
tell, not to spin, and to carry packets and answer `get` once the fault is over.
"""

import contextlib
import errno
import fcntl
import os
import re
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self, TypeAlias

from bench.tunnel.implementations import Implementation, find
from bench.tunnel.lab import Lab
from bench.tunnel.site import LISTEN_PORT, Site, poll
from pywg.runtime.daemon.handover import FACTS, HEAD, HELLO, LOCKED
from pywg.runtime.uapi.server import HANDOVER
from tests.faults.injector import ANY, Arguments, Injector, Rule
from tests.faults.opened import Opened
from tests.netns.dropin import hexkey, public_keys

RECOVERS_WITHIN_S = 20.0
WINDOW_S = 0.4
"""Seconds that a fault lasts at most, and longer where what meets it takes longer."""
ENOUGH = 25
"""Calls that fail; then the fault is over."""
MEETS_WITHIN_S = 10.0
"""Seconds until a daemon that has other things to wait for makes the first of these calls."""
CALLS_PER_S = 3_000
TIMES_AS_MANY = 4
"""A daemon that doesn't spin makes fewer calls than these, and so many times those of the same without a fault. One
that does makes ten or twenty thousand a second more: the injector takes that long for each."""
PORT = 9
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_CLIENT_S = 0.25
"""Seconds that a request may take while calls fail: it is made again."""
_OTHER_PORT = 51_999
_NOBODY = "10.78.0.99"
_DAEMON = "pywg-faults"


Doing: TypeAlias = tuple[Callable[["Running"], None], ...]
"""Methods of Running that make its daemon call the kernel."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a fault did. `faults`: what the daemon should not have done, in words."""

    matched: int
    """calls that the rule was about"""
    failed: int
    calls: int
    """of any kind, while it held"""
    tells: tuple[str, ...]
    """counters that grew, lines of the log, error numbers of replies"""
    faults: tuple[str, ...]


class Running(Opened):
    """An established tunnel. `fault` may be called any number of times; after a daemon's death it starts another."""

    def __init__(self, subject: str = "pywg", *options: str) -> None:
        """`options`: of the near daemon."""
        self.injector = Injector()
        plain = find(subject)
        name = _DAEMON if plain.has_stats else subject
        log_level = {"LOG_LEVEL": "error"}
        command = (*self.injector.command, *plain.command, *options)
        near = replace(plain, name=name, command=command, env=log_level)
        self._lab = Lab(near, _far())
        self._log_read = 0
        self._replies: set[str] = set()
        self._far_begins = False
        self._usual: dict[Doing, int] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._lab)
            self._join()
            self._stack = stack.pop_all()
        return self

    @property
    def near(self) -> Site:
        return self._lab.near

    @property
    def _daemon(self) -> "subprocess.Popen[bytes]":
        assert self.near.daemon is not None
        return self.near.daemon

    def _join(self) -> None:
        near, far = self._lab.sites
        self._sockets = []
        for site in (near, far):
            sock = site.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.bind((site.inner(4), PORT))
            self._sockets.append(sock)
        self._control = near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._far_peer(near)
        self._until_it_carries()
        self._log_read = len(near.log.read_bytes())

    # ---- what makes the daemon call the kernel

    def packets(self, count: int = 8) -> None:
        """Both ways, and also one that no peer takes, whose sender is told."""
        near, far = self._lab.sites
        with contextlib.suppress(OSError):
            self._sockets[0].sendto(bytes(4), (_NOBODY, PORT))
        for sock, target in zip(self._sockets, (far, near), strict=True):
            for number in range(count):
                with contextlib.suppress(OSError):
                    sock.sendto(bytes([number]) * (number * 100 + 4), (target.inner(4), PORT))

    def get(self) -> None:
        self._ask("get=1")

    def port(self) -> None:
        self._ask(f"set=1\nlisten_port={_OTHER_PORT}")
        self._ask(f"set=1\nlisten_port={LISTEN_PORT}")

    def mark(self) -> None:
        self._ask("set=1\nfwmark=7")
        self._ask("set=1\nfwmark=0")

    def link(self) -> None:
        for up in (False, True):
            self._set_link(up=up)
            time.sleep(0.005)

    def peers(self, count: int = 40) -> None:
        keys = [hexkey(key) for key in public_keys(count)]
        more = "".join(
            f"\npublic_key={key}\npreshared_key={'7' * 64}\n"
            f"endpoint=10.77.0.2:{5000 + at}\nallowed_ip=10.9.{at >> 8}.{at & 255}/32"
            for at, key in enumerate(keys)
        )
        self._ask("set=1" + more)
        self._ask("set=1" + "".join(f"\npublic_key={key}\nremove=true" for key in keys))

    def many_peers(self) -> None:
        """So many that the plane maps memory for them and locks it for their secrets."""
        self.peers(1500)

    def handshakes(self) -> None:
        """By turns one that the far site begins, and one that the near site does.

        Never both at once: each takes the place of the other, and the next try comes 5 s later.
        """
        near, far = self._lab.sites
        self._far_begins = not self._far_begins
        if self._far_begins:
            _set(far, f"public_key={hexkey(near.keys.public)}\nremove=true")
            self._far_peer(near)
            self._send(far)
        else:
            self._ask(f"set=1\npublic_key={hexkey(far.keys.public)}\nremove=true")
            self._ask(self._near_peer())
            self._send(near)

    def handover(self) -> None:
        """To another process, this one, which takes all but the last word: the daemon goes on."""
        descriptors: list[int] = []
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(_CLIENT_S)
            client.connect(str(self.near.uapi_socket))
            client.sendall(HANDOVER + b"\n\n")
            try:
                said, descriptors, _, _ = socket.recv_fds(client, 1 << 16, 8)
                self._told(said.decode(errors="replace"), HANDOVER.decode())
                if said[:1] == HELLO:
                    length, *_ = FACTS.unpack_from(said, 1 + HEAD.size)
                    os.ftruncate(descriptors[0], length)
                    client.sendall(LOCKED)
                    said, more, _, _ = socket.recv_fds(client, 64, 8)
                    descriptors += more
                    self._told(said.decode(errors="replace"), HANDOVER.decode())
            finally:
                for fd in descriptors:
                    os.close(fd)

    # ---- one fault

    def fault(
        self,
        call: str,
        code: int,
        *,
        every: int = 1,
        kind: int = ANY,
        arguments: Arguments = (),
        doing: Doing = (),
        fresh: bool = False,
        more_s: float = 0.1,
    ) -> Outcome:
        """Lets the calls fail while all of `doing` is done again and again, and looks at what becomes of the daemon.

        `every`: one in so many of them fails. `fresh`: a daemon that has just started.
        `more_s`: how much longer a persistent fault lasts when nothing is done any more, unless the daemon spins.
        """
        if not self.near.alive():
            self._restart()
        a_turn = self._calls_a_turn(doing)
        if fresh:
            self._daemon.kill()
            self._restart()
        before = self._counters()
        self._replies.clear()
        calls, turns = self._calls(), 0
        began = time.monotonic()
        with self.injector.failing(call, code, every=every, kind=kind, arguments=arguments) as rule:
            while _lasts(rule, time.monotonic() - began) or turns == 0:
                self._turn(doing)
                turns += 1
            until = time.monotonic() + more_s
            while rule.failed and every == 1 and time.monotonic() < until:
                if self._calls() - calls > CALLS_PER_S * (until - began) + TIMES_AS_MANY * a_turn * turns:
                    break  # what spins makes ten thousand calls a second
                time.sleep(0.01)
            matched, failed = rule.matched, rule.failed
        took, calls = time.monotonic() - began, self._calls() - calls
        faults = []
        if calls > CALLS_PER_S * took + TIMES_AS_MANY * a_turn * turns:
            faults.append(f"{calls} calls in {took:.1f} s")
        try:
            self._restore()
            self._until_it_carries()
        except (TimeoutError, OSError, AssertionError) as error:
            faults.append(f"does not recover: {error}" if self.near.alive() else "ends")
        told = self._log()
        faults += [
            f"logs {word!r}" for word in ("internal error", "Traceback", "Assertion", "never needs") if word in told
        ]
        after = self._counters() if self.near.alive() else {}
        tells = [name for name, value in sorted(after.items()) if value > before.get(name, 0) and _tells(name)]
        tells += sorted({_plain(line) for line in told.splitlines()}) + sorted(self._replies)
        if faults:
            self._daemon.kill()
            self._daemon.wait()
        return Outcome(matched, failed, calls, tuple(tells), tuple(faults))

    def _turn(self, doing: Doing) -> None:
        self.packets()
        for act in doing:
            act(self)
        time.sleep(0.005)

    def _calls_a_turn(self, doing: Doing) -> int:
        """Calls that the same makes without a fault."""
        if doing not in self._usual:
            before = self._calls()
            for _ in range(4):
                self._turn(doing)
            self._usual[doing] = (self._calls() - before) // 4 + 100
        return self._usual[doing]

    def _calls(self) -> int:
        return sum(self.injector.calls().values())

    def _restart(self) -> None:
        near = self.near
        self._daemon.wait()
        near.start()
        near.configure(self._lab.mtu)
        near.add_peer(self._lab.far, endpoint=4)
        for sock in [*self._sockets, self._control]:
            sock.close()
        self._join()

    def _restore(self) -> None:
        """All that was changed is as before; asked again until it is, because a client may have been cut off."""
        near = self.near
        self._set_link(up=True)

        def restored() -> bool:
            if not near.alive():
                raise AssertionError("the daemon has ended")
            with contextlib.suppress(OSError):
                return all("errno=0" in _uapi(near, text, 2.0) for text in self._wanted())
            return False

        poll(restored, "the configuration is taken", RECOVERS_WITHIN_S)

    def _wanted(self) -> tuple[str, ...]:
        gone = "".join(f"\npublic_key={hexkey(key)}\nremove=true" for key in public_keys(1500))
        return (f"set=1\nfwmark=0\nlisten_port={LISTEN_PORT}{gone}", self._near_peer(), "get=1")

    def _near_peer(self) -> str:
        far = self._lab.far
        return (
            f"set=1\npublic_key={hexkey(far.keys.public)}\nendpoint={far.outer(4)}:{LISTEN_PORT}\n"
            f"allowed_ip={far.inner(4)}/32\nallowed_ip={far.inner(6)}/128"
        )

    def _far_peer(self, near: Site) -> None:
        key, endpoint = hexkey(near.keys.public), f"{near.outer(4)}:{LISTEN_PORT}"
        _set(self._lab.far, f"public_key={key}\nendpoint={endpoint}\nallowed_ip={near.inner(4)}/32")

    def _until_it_carries(self) -> None:
        """Packets sent from now on arrive, both ways."""
        near, far = self._lab.sites
        number = time.monotonic_ns()
        arrived: set[Site] = set()

        def carries() -> bool:
            if not near.alive():
                raise AssertionError("the daemon has ended")
            self._send(far if far in arrived else near, struct.pack("=Q", number))  # one begins, as in handshakes()
            for sock, site in zip(self._sockets, (near, far), strict=True):
                while data := _receive(sock):
                    if len(data) == 8 and struct.unpack("=Q", data)[0] == number:
                        arrived.add(site)
            return len(arrived) == 2

        poll(carries, "packets arrive both ways", RECOVERS_WITHIN_S, every_s=0.02)

    def _send(self, site: Site, data: bytes = bytes(4)) -> None:
        near, far = self._lab.sites
        sock, target = (self._sockets[0], far) if site is near else (self._sockets[1], near)
        with contextlib.suppress(OSError):
            sock.sendto(data, (target.inner(4), PORT))

    def _ask(self, request: str) -> None:
        """Asks the near daemon; that it doesn't answer while its calls fail is no fault."""
        with contextlib.suppress(OSError):
            self._told(_uapi(self.near, request, _CLIENT_S), request)

    def _told(self, reply: str, request: str) -> None:
        for found in re.findall(r"errno=-(\d+)", reply):
            self._replies.add(f"{errno.errorcode.get(int(found), found)} to `{request.partition('=')[0]}`")

    def _set_link(self, *, up: bool) -> None:
        name = struct.pack("16sH22x", self.near.interface.encode(), 0)
        with contextlib.suppress(OSError):
            flags = struct.unpack_from("=H", fcntl.ioctl(self._control, _SIOCGIFFLAGS, name), 16)[0]
            flags = flags | _IFF_UP if up else flags & ~_IFF_UP
            fcntl.ioctl(self._control, _SIOCSIFFLAGS, struct.pack("16sH22x", self.near.interface.encode(), flags))

    def _counters(self) -> dict[str, int]:
        return {name: int(value) for name, value in self.near.stats().items() if name.startswith("counter_")}

    def _log(self) -> str:
        text = self.near.log.read_bytes()[self._log_read :]
        self._log_read += len(text)
        return text.decode(errors="replace")


def _lasts(rule: Rule, seconds: float) -> bool:
    """Whether a fault goes on, after so many seconds."""
    if not rule.matched:
        return seconds < MEETS_WITHIN_S
    return rule.failed < ENOUGH and seconds < WINDOW_S


def _far() -> Implementation:
    return find("pywg")


def _set(site: Site, text: str) -> None:
    assert "errno=0" in _uapi(site, f"set=1\n{text}", 10.0)


def _uapi(site: Site, request: str, within_s: float) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(within_s)
        client.connect(str(site.uapi_socket))
        client.sendall(f"{request}\n\n".encode())
        answer = b""
        while not answer.endswith(b"\n\n") and (more := client.recv(65536)):
            answer += more
    return answer.decode()


def _receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1 << 16)
    except OSError:
        return b""


_TELLING = re.compile(r"error|dropped|refused|no_room|too_long|cleared|full|no_endpoint|malformed|failed|truncated")


def _tells(counter: str) -> bool:
    return _TELLING.search(counter) is not None


def _plain(line: str) -> str:
    """A log line without what differs from run to run."""
    line = re.sub(r"^(\w+): \(\S+\) \S+ \S+ ", r"", line)
    line = re.sub(r"peer\(\S+\)", "peer(...)", line)
    return re.sub(r"\d+ more such|\b\d{4,}\b", "N", line)
