"""What daemons tell on their sockets for monitors, all asked at once, within a bound of time for all together.

A daemon that is down, that hangs, or that this process may not ask is an answer like any other: one without a sight.
"""

import asyncio
import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from pywg.config.model import DeviceStatus
from pywg.config.uapi import parse_get, parse_troubles
from pywg.errors import ConfigError, UapiError
from pywg.manage import process
from pywg.manage.sight import Sight
from pywg.manage.wg_show import is_set
from pywg.runtime.base.in_use import DIRECTORY, own_folder
from pywg.runtime.uapi.socket import MONITOR

PATIENCE_S: Final = 4.0
"""Seconds for all daemons together: less than the ten that Prometheus waits."""
_MOST_ANSWER: Final = 1 << 26
"""Bytes of one reply: fifty thousand peers with some allowed IPs take half of it."""
_MOST_STATISTICS: Final = 1 << 20
"""Bytes of its statistics: a hundred times what one says."""
_MOST_DIGITS: Final = 20
"""Of a statistic: no counter of 64 bits has more. One that had would be more than a sample can be, and so no page."""
_UCRED: Final = struct.Struct("3i")


@dataclass(slots=True)
class Answer:
    """Of one interface."""

    interface: str
    sight: Sight | None = None
    """None: the daemon did not answer"""
    why: str = ""
    """it did not answer, for people"""
    seconds: float = 0.0
    threads: dict[str, float] = field(default_factory=dict)
    """processor time by name; empty where it isn't told"""


def folders() -> list[str]:
    """Where sockets lie, that of this network namespace first."""
    return [own_folder(), DIRECTORY]


def monitored(directories: Iterable[str]) -> dict[str, str]:
    """The sockets for monitors by interface, of daemons that run and of those that left one behind."""
    found: dict[str, str] = {}
    for directory in directories:
        with contextlib.suppress(OSError):
            for file in os.listdir(directory):
                name, dot, suffix = file.rpartition(".")
                if dot and suffix == MONITOR:
                    found.setdefault(name, os.path.join(directory, file))
    return dict(sorted(found.items()))


async def ask(
    wanted: Iterable[str], *, directories: Iterable[str] | None = None, patience_s: float = PATIENCE_S
) -> list[Answer]:
    """Of the interfaces that are `wanted`, or of all that have a socket for monitors; by name."""
    sockets = monitored(folders() if directories is None else directories)
    names = sorted(set(wanted)) or list(sockets)
    answers = [
        Answer(name, why="it has no socket for monitors: start its daemon with --monitor-socket") for name in names
    ]
    began = time.monotonic()
    tasks = {
        asyncio.ensure_future(_one(answer, sockets[answer.interface], began)): answer
        for answer in answers
        if answer.interface in sockets
    }
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=patience_s)
        for task in late:
            tasks[task].why = f"its daemon has not answered within {patience_s:g} s"
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return answers


async def _one(answer: Answer, path: str, began: float) -> None:
    try:
        answer.sight = await _see(answer, path)
        answer.seconds = time.monotonic() - began
    except (asyncio.IncompleteReadError, BrokenPipeError, ConnectionResetError):
        answer.why = "its daemon hung up before its answer was whole"
    except OSError as error:
        answer.why = f"{path}: {error.strerror or error}"
    except (UapiError, ConfigError, asyncio.LimitOverrunError) as error:
        answer.why = f"its daemon says what can't be read: {error}"


async def _see(answer: Answer, path: str) -> Sight:
    """Raises OSError, UapiError, and what a stream raises."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect(path)  # at once, or never: EAGAIN is the full queue of a daemon that hangs
        pid, _, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=_MOST_ANSWER)
    except BaseException:
        sock.close()
        raise
    try:
        stats = _values(await _told(reader, writer, b"stats=1\n\n"))
        troubles = {one.public_key: one for one in parse_troubles(await _told(reader, writer, b"peers=1\n\n"))}
        reply = await _told(reader, writer, b"get=1\n\n")  # the longest last: a monitor has to rest after each
    finally:
        writer.close()
    now, wall_ns = time.monotonic(), time.time_ns()
    sight = Sight(answer.interface, now, wall_ns, without_keys(parse_get(reply)), stats=stats, troubles=troubles)
    if pid > 0:
        sight.resident_bytes = process.resident_bytes(pid)
        for name, seconds in process.threads(pid).values():
            answer.threads[name] = answer.threads.get(name, 0.0) + seconds
    return sight


def without_keys(status: DeviceStatus) -> DeviceStatus:
    """The same. Raises UapiError where it has one: that is no socket for monitors."""
    if is_set(status.private_key) or any(is_set(peer.preshared_key) for peer in status.peers):
        raise UapiError("it tells keys, as no socket for monitors does", errno=errno.EPROTO)
    return status


async def _told(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, question: bytes) -> bytearray:
    writer.write(question)
    return bytearray(await reader.readuntil(b"\n\n"))


def _values(reply: bytearray) -> dict[str, str]:
    """Raises UapiError for an errno that is not 0, and for what no pywg says."""
    found = dict(line.partition("=")[::2] for line in reply.decode("ascii", "backslashreplace").split("\n") if line)
    if found.pop("errno", "") != "0" or "version" not in found:
        raise UapiError("no statistics", errno=errno.EPROTO)
    if len(reply) > _MOST_STATISTICS or any(len(one) > _MOST_DIGITS and one.isdecimal() for one in found.values()):
        raise UapiError("statistics too large for one", errno=errno.EPROTO)
    return found
