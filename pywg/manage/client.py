"""Requests to the daemon of an interface, on its configuration socket, and the replies as data.

The daemon need not be pywg: `get` and `change` are what every user-space WireGuard answers. State and statistics come
from the monitoring socket where the caller may not use the other.
"""

import contextlib
import errno
import os
import socket
import time
from typing import TYPE_CHECKING

from pywg.config.model import DeviceChange, DeviceStatus, PeerTrouble
from pywg.config.uapi import format_set, parse_get, parse_troubles
from pywg.errors import DeviceError, UapiError
from pywg.runtime.base.in_use import DIRECTORY, SOCKET, daemon_of, folder_of, own_folder
from pywg.runtime.base.log import parse_level
from pywg.runtime.uapi.socket import MONITOR, connect

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_TIMEOUT_S = 10.0
"""Seconds for the whole reply."""
_MOST_REPLY = 1 << 20
"""Bytes of a reply: no pywg says so much of itself."""
_MOST_STATE = 1 << 28
"""Bytes of the reply that has all peers: a million allowed IPs take a fifth of it."""
DENIED = (errno.EACCES, errno.EPERM)
"""Errnos of a caller that may not ask."""


def get(interface: str, *, directory: str | None = None) -> DeviceStatus:
    """The state of `interface`, with its keys. Raises DeviceError when no daemon answers."""
    return _status(connect(interface, directory=directory), interface)


def watch(interface: str, *, directory: str | None = None) -> tuple[DeviceStatus, bool]:
    """The state of `interface`, and whether its keys are told: a monitoring socket tells none.

    Raises DeviceError when no daemon answers, or the caller may use neither socket.
    """
    sock, keys = connect_to_see(interface, directory)
    return _status(sock, interface), keys


def change(interface: str, what: DeviceChange, *, directory: str | None = None) -> None:
    """Has the daemon apply a change, as a whole. Secrets of `what` stay the caller's.

    Raises DeviceError when no daemon answers, or refuses: its errno is the daemon's.
    """
    change_over(_connect_to_change(interface, directory), interface, what)


def change_over(sock: socket.socket, interface: str, what: DeviceChange) -> None:
    """As `change`, on a connection to the daemon of `interface`, which is closed."""
    text = format_set(what)
    request = bytearray(len(text) + len(b"set=1\n\n"))
    request[:6], request[6:-1], request[-1:] = b"set=1\n", text, b"\n"
    try:
        reply = _ask(sock, interface, request)
    finally:
        text[:] = bytes(len(text))
        request[:] = bytes(len(request))
    try:
        parse_get(reply)
    except UapiError as error:
        raise DeviceError(error.errno, _about_refusal(error.errno, interface, what.listen_port)) from None
    if not reply:
        raise DeviceError(errno.EPROTO, f"the daemon of {interface} hung up on the change")


def _about_refusal(code: int, interface: str, port: int | None) -> str:
    if code == errno.EADDRINUSE and port:
        return f"UDP port {port} is in use: `ss -lunp sport = :{port}` shows by which program"
    return f"the daemon of {interface} refuses the change: {os.strerror(code)}"


def stats(interface: str, *, directory: str | None = None) -> dict[str, str]:
    """The daemon's counters, offloads and more, by name, in its order: `pywg stats` prints them.

    Raises DeviceError when no pywg answers.
    """
    sock, _ = connect_to_see(interface, directory)
    lines = _lines(_ask(sock, interface, b"stats=1\n\n"))
    if not lines or lines[-1] != "errno=0" or not all(map(str.isprintable, lines)):
        raise DeviceError(errno.ENOTSUP, f"the daemon of {interface} has no statistics: it is not pywg")
    found: dict[str, str] = {}
    for line in lines[:-1]:
        name, _, value = line.partition("=")
        found[name] = value
    return found


def troubles(interface: str, *, directory: str | None = None) -> list[PeerTrouble]:
    """The peers that owe an answer to initiations; none where the daemon does not tell.

    Raises DeviceError when no daemon answers.
    """
    sock, _ = connect_to_see(interface, directory)
    reply = _ask(sock, interface, b"peers=1\n\n", most=_MOST_STATE)
    try:
        return parse_troubles(reply)
    except UapiError as error:
        raise DeviceError(error.errno, f"the troubles of {interface} can't be read: {error}") from None


def set_level(interface: str, level: str, *, directory: str | None = None) -> None:
    """Sets the daemon's log level until it ends or is told another.

    Raises ConfigError for a word that is no level, DeviceError when no pywg answers. A daemon that went to the
    background without LOG_LEVEL has no standard error: its lines go to the system's log.
    """
    word = parse_level(level).name.lower()
    reply = _ask(_connect_to_change(interface, directory), interface, f"log_level={word}\n\n".encode())
    if _lines(reply) != ["errno=0"]:
        raise DeviceError(errno.ENOTSUP, f"the log level of {interface} can't be changed: its daemon is not pywg")


def served(*, directory: str | None = None) -> list[str]:
    """The interfaces that daemons answer for, pywg's and others', sorted. Raises DeviceError where the caller may not
    look into the folder of their sockets."""
    return sorted(served_as_listed(directory=directory))


def served_as_listed(*, directory: str | None = None) -> list[str]:
    """As `served`, in the order of the folder, which is that of `wg show`."""
    files: list[str] = []
    for folder in [directory] if directory else [DIRECTORY, own_folder()]:
        try:
            files += os.listdir(folder)
        except PermissionError:
            raise DeviceError(errno.EACCES, f"only root may see what runs: {folder} is closed to others") from None
        except OSError:
            pass
    names = dict.fromkeys(name.removesuffix(f".{SOCKET}") for name in files if name.endswith(f".{SOCKET}"))
    return [name for name in names if _answers(name, directory)]


def served_here(*, directory: str | None = None) -> list[str]:
    """Those of `served` that are in this network namespace: the folder of sockets is one for all. None where the
    caller may not look into it."""
    here = {name for _, name in socket.if_nameindex()}
    with contextlib.suppress(DeviceError):
        return [name for name in served(directory=directory) if name in here]
    return []


def _answers(interface: str, directory: str | None) -> bool:
    """Also when the caller may not ask: then the socket is a live daemon's, or a leftover that only root can tell."""
    if daemon_of(interface, directory=directory) is not None:
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(f"{directory or folder_of(interface)}/{interface}.{SOCKET}") in DENIED


def connect_to_see(interface: str, directory: str | None) -> tuple[socket.socket, bool]:
    """A connection to the socket that the caller may use, and whether that tells keys. Raises DeviceError."""
    try:
        return connect(interface, directory=directory), True
    except DeviceError as error:
        if error.errno not in DENIED:
            raise
        try:
            return connect(interface, directory=directory, suffix=MONITOR), False
        except DeviceError:
            raise error from None


def _connect_to_change(interface: str, directory: str | None) -> socket.socket:
    try:
        return connect(interface, directory=directory)
    except DeviceError as error:
        if error.errno not in DENIED:
            raise
        text = f"{interface} takes changes from root alone: run this as root, or start its daemon with --socket-owner"
        raise DeviceError(error.errno or errno.EACCES, text) from None


def _status(sock: socket.socket, interface: str) -> DeviceStatus:
    reply = _ask(sock, interface, b"get=1\n\n", most=_MOST_STATE)
    try:
        if not reply.endswith(b"\n\n"):
            raise DeviceError(errno.EPROTO, f"the daemon of {interface} hung up before its answer was whole")
        return parse_get(reply)
    except UapiError as error:
        raise DeviceError(error.errno, f"the state of {interface} can't be read: {error}") from None
    finally:
        reply[:] = bytes(len(reply))


def _lines(reply: bytearray) -> list[str]:
    return [line for line in reply.decode("ascii", "backslashreplace").split("\n") if line]


def _ask(sock: socket.socket, interface: str, request: "ReadableBuffer", *, most: int = 0) -> bytearray:
    """The reply, with the blank line at its end. A daemon hangs up on an operation it doesn't know: then it is empty.

    Closes `sock`. Raises DeviceError when no daemon answers, or what answers goes on for ever.
    """
    end = time.monotonic() + _TIMEOUT_S
    with sock:
        sock.settimeout(_TIMEOUT_S)
        reply = bytearray()
        try:
            sock.sendall(request)
            while not reply.endswith(b"\n\n") and (received := sock.recv(1 << 16)):
                reply += received
                if len(reply) > (most or _MOST_REPLY):
                    raise DeviceError(errno.EMSGSIZE, f"the daemon of {interface} says too much: it is not pywg")
                sock.settimeout(max(end - time.monotonic(), 0.001))
        except DeviceError:
            raise
        except OSError as error:
            text = f"the daemon of {interface} doesn't answer: {error}"
            raise DeviceError(error.errno or errno.EIO, text) from error
    return reply
