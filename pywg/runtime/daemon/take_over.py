"""Handover, the end of the daemon that comes: it prepares all that may fail, has the other one stop, and goes on.

The conversation is handover.py's. This process is not confined yet, and most often root, so nothing that it is told is
believed: descriptors are asked what they are, and the parcel is read by a Reader and checked by core and plane. Who
has told it is the kernel's word (witness.py). Before `finish` has returned, this process sends nothing.
"""

import contextlib
import errno
import os
import select
import socket
import struct
import time
from typing import NamedTuple

from pywg.config.interface import interface_name_fault
from pywg.errors import DeviceError
from pywg.runtime.base import namespaces
from pywg.runtime.base.parcel import Reader, ReceivedParcel, bad_parcel
from pywg.runtime.base.processors import SHARDS
from pywg.runtime.daemon import witness
from pywg.runtime.daemon.handover import (
    COUNT,
    FACTS,
    FORMAT,
    FORMAT_OF_SHARDS,
    HEAD,
    HELLO,
    LOCKED,
    MOST_DESCRIPTORS,
    PREPARES_WITHIN_S,
    QUEUES,
    READY,
    TUN,
    WRITTEN,
    YOURS,
    control_group,
)
from pywg.runtime.device import carried
from pywg.runtime.device.carried import DeviceState
from pywg.runtime.uapi.server import HANDOVER
from pywg.runtime.uapi.socket import connect

_FORMATS = FORMAT, FORMAT_OF_SHARDS
_MOST_INTERFACES = 64
_MOST_TEXT = 1 << 16
_UCRED = struct.Struct("=iII")
_FD = struct.Struct("=i")
_ANCILLARY = socket.CMSG_SPACE(MOST_DESCRIPTORS * _FD.size) + socket.CMSG_SPACE(_UCRED.size)
_ERRNO_DIGITS = 4
_MEMORY_TIMES = 4
"""Bytes of a parcel, at most, for each byte of its own that the other daemon has. A peer without a session takes up 1.6
KiB there and 5.2 in the parcel, which has room for its three keypairs; the daemon without peers is 12 MiB."""
_ANSWERS_WITHIN_S = 10.0
_TRIES = 4
"""Calls to hear the other daemon's last word."""
_ENDS_WITHIN_MS = 1000
"""A dying process' descriptors are closed before it has ended."""
_CONTROL_GROUPS = "/sys/fs/cgroup"


class TakenInterface(NamedTuple):
    """What there is of one interface before the other daemon stops. What takes a descriptor owns it."""

    name: str
    queues: tuple[int, ...]
    """of the TUN, one for each shard"""
    vnet_hdr_len: int
    uso: bool
    tunnels: bool
    configuration: int
    monitor: int
    """-1: none"""
    keeps_flows: bool = False
    """a program of ours keeps each flow in one queue"""


class Taking:
    """A handover from the daemon of `interface`, begun: it serves on. Raises DeviceError that says whether it still
    does."""

    def __init__(self, interface: str) -> None:
        self.waited_s = 0.0
        """how long nothing was sent"""
        self._fds: list[int] = []
        """those that have come with the last letter, until they are taken"""
        self._taken = 0
        self._parcel: ReceivedParcel | None = None
        self.pid = 0
        """of the other one, as the kernel says"""
        self._process = -1
        """a descriptor of its process; -1: this kernel has none"""
        self._sock = connect(interface)
        try:
            self._sock.settimeout(_ANSWERS_WITHIN_S)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._sock.sendall(HANDOVER + b"\n\n")
            self._interface_asked = interface
            self._hear(HELLO)
            with contextlib.suppress(OSError):  # before Linux 5.3
                self._process = os.pidfd_open(self.pid)
            self._hello()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError) and not isinstance(error, DeviceError):
                text = f"the daemon of {interface} doesn't answer: {error.strerror or error}"
                raise DeviceError(error.errno or errno.EIO, text) from error
            raise

    def _hello(self) -> None:
        self._form, length = HEAD.unpack(self._exactly(HEAD.size))
        if self._form not in _FORMATS:
            raise DeviceError(
                errno.EPROTONOSUPPORT,
                f"the daemon speaks format {self._form} of the handover, and this pywg {_FORMATS[-1]}: it serves on",
            )
        if length > _MOST_TEXT:
            raise bad_parcel(f"{length} bytes of facts")
        facts = Reader(memoryview(self._exactly(length)))
        size, namespace, _, count = facts.take(FACTS)
        self.witness = witness.of_process(self.pid)
        self.control_group = control_group(self.pid) if facts.take_bytes(_MOST_TEXT) else ""
        """Of the other one, where a service manager watches it; else empty."""
        self.given = _pairs(facts.take_bytes(_MOST_TEXT))
        self.environment = _pairs(facts.take_bytes(_MOST_TEXT))
        if not 0 < count <= _MOST_INTERFACES:
            raise bad_parcel(f"{count} interfaces")
        if namespace not in (0, namespaces.of_this_thread()):
            raise DeviceError(
                errno.EXDEV, "the daemon was started in another network namespace: run this there; it serves on"
            )
        parcel = self._descriptor()
        interfaces = [self._interface(facts) for _ in range(count)]
        self._all_are_taken(but=parcel)
        self._parcel = ReceivedParcel(parcel, size, most=_MEMORY_TIMES * self.witness.memory)
        self.interfaces = interfaces
        self._fds = []

    def _interface(self, facts: Reader) -> TakenInterface:
        name = os.fsdecode(facts.take_bytes(64))
        if interface_name_fault(name):
            raise bad_parcel("an interface of no name")
        vnet_hdr_len, uso, tunnels, monitored = facts.take(TUN)
        count, keeps_flows = facts.take(QUEUES) if self._form != FORMAT else (1, 0)
        if count not in SHARDS:
            raise bad_parcel(f"{count} queues")
        queues = tuple(self._descriptor() for _ in range(count))
        configuration = self._descriptor()
        monitor = self._descriptor() if monitored else -1
        return TakenInterface(
            name, queues, vnet_hdr_len, bool(uso), bool(tunnels), configuration, monitor, bool(keeps_flows)
        )

    def states(self) -> list[tuple[DeviceState, list[tuple[int, int]]]]:
        """Has the other one stop. The state of each interface, and its UDP sockets: at most one pair for each queue, of
        IPv4 and IPv6, -1 for none of a family."""
        self._began = time.monotonic()
        self._sock.settimeout(PREPARES_WITHIN_S)
        self._ask(LOCKED, WRITTEN)
        assert self._parcel is not None
        contents, found = self._parcel.read(), []
        try:
            for its in self.interfaces:
                udp = self._udp_sockets(len(its.queues))
                found.append((carried.read(contents), udp))
            self._all_are_taken()
        finally:
            contents.close()
            self._parcel.close()
        self._fds = []
        return found

    def _udp_sockets(self, most: int) -> list[tuple[int, int]]:
        """Of one interface, which has so many pairs at most. Raises DeviceError."""
        count = self._exactly(COUNT.size)[0] if self._form != FORMAT else 1
        if count > most:
            raise bad_parcel(f"{count} pairs of sockets for {most} queues")
        pairs = []
        for has in self._exactly(count):
            if self._form == FORMAT and not has:
                continue
            fd4, fd6 = (self._descriptor() if has >> number & 1 else -1 for number in range(2))
            if fd4 == fd6:
                raise bad_parcel("a pair of no sockets")
            pairs.append((fd4, fd6))
        return pairs

    def finish(self) -> None:
        """All is in place: returns once the other one has given up the sessions for good. Raises OSError."""
        self._sock.settimeout(_ANSWERS_WITHIN_S)
        try:
            self._sock.sendall(READY)
            said = self._last_word()
        except ConnectionError:
            said = b""
        if not said:
            raise self._gone("has gone on by itself")
        if said != YOURS:
            raise DeviceError(errno.ECONNRESET, "the other daemon has gone on by itself: it serves on")

    def _last_word(self) -> bytes:
        """What the other one says at the end, by which it has gone: an error of the call that hears it ends nothing."""
        for _ in range(_TRIES):
            try:
                return self._sock.recv(1)
            except TimeoutError:
                # After this the other one can't say it any more: so what is there now is its last word.
                self._sock.shutdown(socket.SHUT_RD)
            except OSError:
                pass
        return b""

    def gone_on(self) -> None:
        """This daemon sends now."""
        self.waited_s = time.monotonic() - self._began

    def close(self) -> None:
        """Hangs up, wipes the parcel, and closes descriptors that were not taken. Idempotent."""
        self._sock.close()
        if self._process >= 0:
            os.close(self._process)
            self._process = -1
        if self._parcel is not None:
            self._parcel.close()
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    # What the other one says

    def _ask(self, letter: bytes, answer: bytes) -> None:
        """Says a letter, and hears another. Raises DeviceError also where the other one has hung up."""
        try:
            self._sock.sendall(letter)
            self._hear(answer)
        except ConnectionError as error:
            raise self._gone("hangs up") from error

    def _hear(self, letter: bytes) -> None:
        """Waits for a letter, and takes the descriptors that come with it. Raises DeviceError where another comes."""
        said, ancillary, flags, _ = self._sock.recvmsg(1, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        self._taken = 0
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._fds += [fd for (fd,) in _FD.iter_unpack(data[: len(data) // _FD.size * _FD.size])]
            elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                self.pid = _UCRED.unpack(data)[0]
        if flags & socket.MSG_CTRUNC:
            raise DeviceError(errno.EMFILE, "not all descriptors could be taken: raise RLIMIT_NOFILE; it serves on")
        if said == letter:
            return
        if said == b"e":
            raise self._refusal()
        if not said and letter != HELLO:
            raise self._gone("hangs up")
        text = "says what makes no sense" if letter != HELLO else "can't hand over: it is not pywg, or an older one"
        raise DeviceError(errno.EOPNOTSUPP, f"the daemon of {self._interface_asked} {text}; it serves on")

    def _gone(self, does: str) -> DeviceError:
        """The error where the other one says nothing any more, with what has become of it.

        If it has ended, this one does not serve in its place: what it sent after it had stopped, and gone on, is not
        known here, and no counter may be used twice.
        """
        if self._process < 0:
            return DeviceError(errno.EPIPE, f"the other daemon {does}: see with `pywg status` that it serves on")
        process = select.poll()
        process.register(self._process, select.POLLIN)
        if process.poll(_ENDS_WITHIN_MS):
            text = f"the daemon, PID {self.pid}, has ended in the middle of the handover"
            return DeviceError(errno.ECONNRESET, f"{text}: nobody serves {self._interface_asked} now; start it anew")
        return DeviceError(errno.EPIPE, f"the other daemon {does}; it serves on")

    def _refusal(self) -> DeviceError:
        rest = b""
        while not rest.endswith(b"\n") and len(rest) < 32 and (more := self._sock.recv(1)):
            rest += more
        number = rest.partition(b"=")[2].strip().lstrip(b"-")
        code = int(number) if number.isdigit() and len(number) <= _ERRNO_DIGITS else errno.EPROTO
        why = {
            errno.EPERM: "only root may take it over",
            errno.EBUSY: "another process is taking it over at the moment",
            errno.EAGAIN: "its peers or interfaces have changed meanwhile: try again",
            errno.E2BIG: "its interfaces have more queues and sockets than one message carries: start anew",
        }.get(code, f"it refuses: {os.strerror(code)}")
        return DeviceError(code, f"{self._interface_asked} is not handed over, and is served on: {why}")

    def _exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = self._sock.recv(length - len(data))
            if not more:
                raise self._gone("hangs up")
            data += more
        return data

    def _descriptor(self) -> int:
        """The next of those that came. It stays this object's until all have been given out."""
        if self._taken >= len(self._fds):
            raise bad_parcel("a descriptor is missing")
        self._taken += 1
        return self._fds[self._taken - 1]

    def _all_are_taken(self, *, but: int = -1) -> None:
        """Raises DeviceError where more have come. `but` is another's from now on."""
        if self._taken != len(self._fds):
            raise bad_parcel("descriptors that belong to nothing")
        self._fds = [fd for fd in self._fds if fd != but]


def _pairs(text: bytes) -> dict[str, str]:
    """NAME=VALUE, each ended by a zero."""
    pairs = (os.fsdecode(one).partition("=") for one in text.split(b"\0") if one)
    return {name: value for name, _, value in pairs}


def join(group: str) -> None:
    """Makes this process one of a control group, if it is not: when the other daemon ends, the service manager would
    otherwise take the service for ended. `group` is the kernel's word. Raises DeviceError."""
    if group == control_group():
        return
    try:
        fd = os.open(f"{_CONTROL_GROUPS}{group}/cgroup.procs", os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.write(fd, b"%d\n" % os.getpid())
        finally:
            os.close(fd)
    except OSError as error:
        raise DeviceError(
            error.errno or errno.EIO,
            f"the service's control group {group} can't be joined: {error.strerror}; its unit may have "
            "`ExecReload=pywg upgrade`, and then `systemctl reload` does this",
        ) from error
