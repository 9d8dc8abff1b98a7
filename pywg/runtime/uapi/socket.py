"""The file of a device's configuration socket: /var/run/wireguard/NAME.sock, where `wg` looks for it.

A socket file on which no daemon answers is left over from a crash, and the new daemon takes it over. One that answers
belongs to a live daemon. wg-quick and `rm` end a daemon by deleting the file, so the daemon watches it.
"""

import contextlib
import errno
import os
import socket
from dataclasses import dataclass

from pywg.errors import DeviceError
from pywg.runtime.base.failures import advice
from pywg.runtime.base.in_use import DIRECTORY, daemon_of, is_kernels, served_already
from pywg.runtime.base.libc import watch_file

_BACKLOG = 128


@dataclass(slots=True)
class UapiSocket:
    """A listening socket and, where it has one, its file. This object owns both."""

    listener: socket.socket
    path: str | None
    _identity: tuple[int, int] | None

    def present(self) -> bool:
        """Whether the file is still the one that was bound; always true without a file."""
        return self.path is None or _identity(self.path) == self._identity

    def watch(self) -> int | None:
        """A descriptor, the caller's, that becomes readable when `present` may have changed.

        None without a file or without inotify.
        """
        with contextlib.suppress(OSError):
            return None if self.path is None else watch_file(self.path)
        return None

    def close(self) -> None:
        """Removes the file, if it is still ours. Idempotent."""
        if self.path is not None and self.present():
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        self.path = None
        self.listener.close()


def open_uapi(interface: str, *, directory: str = DIRECTORY) -> UapiSocket:
    """A listening socket for `interface`.

    Raises DeviceError: EADDRINUSE when a live daemon answers there, otherwise the system's errno.
    """
    path = f"{directory}/{interface}.sock"
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        listener = _bind(path)
        if listener is None:
            if daemon := daemon_of(interface, directory=directory):
                raise DeviceError(errno.EADDRINUSE, served_already(interface, daemon))
            os.unlink(path)
            listener = _bind(path)
    except DeviceError:
        raise
    except OSError as error:
        raise _socket_error(error, path) from error
    if listener is None:
        raise DeviceError(errno.EADDRINUSE, f"{interface} is in use: another daemon just took {path}")
    return UapiSocket(listener, path, _identity(path))


def from_fd(fd: int) -> UapiSocket:
    """Takes over a listening Unix socket (WG_UAPI_FD), and its file if it has one. Raises DeviceError."""
    try:
        listener = socket.socket(fileno=fd)
        listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise DeviceError(error.errno or errno.EIO, f"WG_UAPI_FD={fd} is not a socket: {error.strerror}") from error
    if listener.family != socket.AF_UNIX or not listening:
        listener.detach()
        raise DeviceError(errno.EINVAL, f"WG_UAPI_FD={fd} is not a listening Unix socket")
    listener.setblocking(False)
    listener.set_inheritable(False)
    name = listener.getsockname()
    path = name if isinstance(name, str) and name.startswith("/") else None
    return UapiSocket(listener, path, None if path is None else _identity(path))


def connect(interface: str, *, directory: str = DIRECTORY) -> socket.socket:
    """A client's blocking connection to the daemon of `interface`. Raises DeviceError when no daemon answers."""
    path = f"{directory}/{interface}.sock"
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise _connect_error(error, interface, path) from error
    return sock


def _bind(path: str) -> socket.socket | None:
    """A listening socket that only its owner can reach; None when another socket has the path."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    umask = os.umask(0o077)
    bound = False
    try:
        listener.bind(path)
        bound = True
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if bound:
            with contextlib.suppress(OSError):
                os.unlink(path)
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    finally:
        os.umask(umask)
    return listener


def _identity(path: str) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        return found.st_dev, found.st_ino
    return None


def _socket_error(error: OSError, path: str) -> DeviceError:
    code = error.errno or errno.EIO
    directory = os.path.dirname(path)
    if code in (errno.EEXIST, errno.ENOTDIR):
        what_to_do = f"; {directory} has to be a directory: what is there now is in the way"
    elif code == errno.EROFS:
        what_to_do = f"; {directory} has to be writable: mount a tmpfs there (a container: `--tmpfs /run`)"
    elif code in (errno.EACCES, errno.EPERM) and os.geteuid() != 0:
        what_to_do = "; run as root"
    else:
        what_to_do = advice(code)
    return DeviceError(code, f"the configuration socket {path} can't be made: {error.strerror}{what_to_do}")


def _connect_error(error: OSError, interface: str, path: str) -> DeviceError:
    code = error.errno or errno.EIO
    if code in (errno.EACCES, errno.EPERM):
        text = f"{interface} answers root alone ({path}: {error.strerror}): run this as root"
    elif is_kernels(interface):
        text = (
            f"no daemon answers for {interface}: the kernel's own WireGuard serves it; `wg show {interface}` shows it"
        )
    elif code == errno.ENOENT:
        text = f"no daemon answers for {interface}: there is no {path}"
    else:
        text = f"no daemon answers for {interface} ({path}): {error.strerror}"
    return DeviceError(code, text)
