"""The files of a device's sockets: /var/run/wireguard/NAME.sock, where `wg` looks for its configuration, and beside it
NAME.monitor, which `wg` takes for no interface's.

A socket file on which no daemon answers is left over from a crash, and the new daemon takes it over. One that answers
belongs to a live daemon. wg-quick and `rm` end a daemon by deleting the file of its configuration socket, so the daemon
watches it. Root alone may connect, and the user or group that the operator names.

Daemons of two network namespaces may start under one name at the same time. Each finds the other's socket as one that
does not listen yet, which is one that is left over. So pywg's are alone with a name while they make its file; and what
another program has put in its place by then is none of theirs.
"""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Container
from dataclasses import dataclass

from pywg.errors import DeviceError, NoDaemonError
from pywg.runtime.base.accounts import Owner
from pywg.runtime.base.failures import advice
from pywg.runtime.base.in_use import DIRECTORY, SOCKET, daemon_of, folder_of, is_kernels, own_folder, served_already
from pywg.runtime.base.libc import watch_file
from pywg.runtime.base.lock_file import locked
from pywg.runtime.base.system import Remover, SocketFile

ROOTS_ALONE = Owner()
MONITOR = "monitor"
"""The suffix of the file of a monitoring socket."""
_BACKLOG = 128
_ATTEMPTS = 100
"""To make a file that stays. One fails when a client asks in the microseconds between two system calls."""
_SIOCUNIXFILE = 0x89E0
START_S = 10.0
"""Seconds that another start under this name may take for its file, which is some milliseconds' work."""


@dataclass(slots=True)
class UapiSocket:
    """A listening socket and, where it has one, its file. This object owns both."""

    listener: socket.socket
    path: str | None
    _file: SocketFile | None
    _fd: int = -1
    """of the file itself: tells of its end where its folder can't be looked into"""
    _remover: Remover | None = None
    _handed_over: bool = False

    @property
    def directory(self) -> str | None:
        """The folder of the file; None without one."""
        return None if self.path is None else os.path.dirname(self.path)

    @property
    def removes(self) -> bool:
        """Whether this process itself removes the file in the end."""
        return self.path is not None and self._remover is None

    @property
    def file(self) -> SocketFile | None:
        """The file as it was bound; None without one."""
        return self._file

    def present(self) -> bool:
        """Whether the file is still the one that was bound; always true without a file, or where none can tell."""
        if self.path is None:
            return True
        with contextlib.suppress(OSError):
            return _file_at(self.path) == self._file
        with contextlib.suppress(OSError):  # another user's folder, or one that can't be read now
            return self._fd < 0 or os.fstat(self._fd).st_nlink > 0
        return True

    def folder_is(self, directory: str) -> None:
        """The folder of the file has another path now."""
        if self.path is not None:
            self.path = os.path.join(directory, os.path.basename(self.path))
            self._file = self._file and self._file._replace(path=self.path)

    def leave_to(self, remover: Remover) -> None:
        """Has the file removed by `remover` in the end."""
        self._remover = remover

    def hand_over(self) -> None:
        """Another process has the socket now: the file is left to it."""
        self._handed_over = True

    def is_ours(self) -> None:
        """This process has taken the socket over: it removes the file, and is whom clients see (SO_PEERCRED)."""
        self._handed_over = False
        with contextlib.suppress(OSError):
            self.listener.listen(_BACKLOG)

    def watch(self) -> int | None:
        """A descriptor, the caller's, that becomes readable when `present` may have changed.

        None without a file or without inotify.
        """
        with contextlib.suppress(OSError):
            return None if self.path is None else watch_file(self.path)
        return None

    def close(self) -> None:
        """Removes the file, if it is still ours. Idempotent."""
        if self._handed_over:
            pass
        elif self._remover is not None:
            self._remover.finish()
        elif self.path is not None and self._file is not None and self.present():
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        self.path = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self.listener.close()


def _make_folder(directory: str) -> None:
    """For all to look into, and for root alone to write in, whatever the umask: a socket's own mode says who may use
    it. One that is there stays, and so does the one that it lies in."""
    if os.path.isdir(directory):
        return
    if parent := os.path.dirname(directory):
        _make_folder(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o755)  # and never open to more, not even for a moment
        os.chmod(directory, 0o755)  # noqa: S103


def open_uapi(
    interface: str, *, directory: str = DIRECTORY, suffix: str = SOCKET, owner: Owner = ROOTS_ALONE
) -> UapiSocket:
    """A listening socket for `interface`, to which root and `owner` may connect.

    Raises DeviceError: EADDRINUSE when a live daemon answers there, or another start under this name does not end;
    otherwise the system's errno.
    """
    path = f"{directory}/{interface}.{suffix}"
    try:
        _make_folder(directory)
        with locked(f"{path}.lock", wait_s=START_S, taken=lambda: _starts_already(interface, path)):
            made = _make(path, owner)
            if made is None:
                if daemon := daemon_of(interface, directory=directory, suffix=suffix):
                    raise DeviceError(errno.EADDRINUSE, served_already(interface, daemon))
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                made = _make(path, owner)
    except DeviceError:
        raise
    except OSError as error:
        raise _socket_error(error, path) from error
    if made is None:
        raise DeviceError(errno.EADDRINUSE, f"{interface} is in use: another daemon just took {path}")
    return made


def _starts_already(interface: str, path: str) -> DeviceError:
    text = f"{interface} is in use: a daemon that has been starting for {START_S:.0f} s has {path}.lock locked"
    return DeviceError(errno.EADDRINUSE, f"{text}; `fuser {path}.lock` shows its PID")


def from_fd(fd: int, what: str = "", *, only: Container[str] | None = None) -> UapiSocket:
    """Takes over a listening Unix socket (WG_UAPI_FD), and its file if it has one. Raises DeviceError.

    Which clients may connect is for the program that made it to say. `what` names it in errors. A file whose path is
    not among `only` is left alone.
    """
    what = what or f"WG_UAPI_FD={fd}"
    try:
        listener = socket.socket(fileno=fd)
        listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise DeviceError(error.errno or errno.EIO, f"{what} is not a socket: {error.strerror}") from error
    if listener.family != socket.AF_UNIX or not listening:
        listener.detach()
        raise DeviceError(errno.EINVAL, f"{what} is not a listening Unix socket")
    listener.setblocking(False)
    listener.set_inheritable(False)
    name = listener.getsockname()
    path = name if isinstance(name, str) and name.startswith("/") and (only is None or name in only) else None
    return _of(listener, path)


def from_other(fd: int, interface: str, *, suffix: str = SOCKET) -> UapiSocket:
    """The socket of another daemon, and its file, which stays that one's until `is_ours`. Raises DeviceError, and the
    descriptor stays the caller's.

    The file is removed in the end, by root, so it is one where daemons make theirs and no other: a socket's name is
    what its maker has told the kernel, who may have had another root directory.
    """
    only = [f"{folder}/{interface}.{suffix}" for folder in (DIRECTORY, own_folder())]
    adopted = from_fd(fd, "what was handed over", only=only)
    adopted.hand_over()
    return adopted


def connect(interface: str, *, directory: str | None = None, suffix: str = SOCKET) -> socket.socket:
    """A client's blocking connection to the daemon of `interface`. Raises DeviceError when no daemon answers.

    `directory`: of the socket; None: where it lies for this network namespace.
    """
    path = f"{directory or folder_of(interface)}/{interface}.{suffix}"
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise _connect_error(error, interface, path) from error
    return sock


def _make(path: str, owner: Owner) -> UapiSocket | None:
    """As `_bind`, with the file that it has once it listens.

    `wg` removes a socket's file where nobody listens: any `wg show`, of any interface. So does wireguard-go that starts
    under the same name. To both, a socket that is bound and does not listen yet is left over from a crash. Without its
    file a daemon would serve on, and nobody could reach it, or end it by removing the file. So it is made once more,
    unless another program's has its path. (One that has tried to connect before, and removes the file after this, ends
    the daemon like `rm`.)
    """
    for _ in range(_ATTEMPTS):
        listener = _bind(path, owner)
        if listener is None:
            return None
        try:
            made = _of(listener, path)
        except BaseException:
            listener.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            raise
        if made.file is not None and made.present():
            return made
        made.close()
        if os.path.lexists(path):
            return None
    raise DeviceError(errno.EAGAIN, f"{path} was removed {_ATTEMPTS} times before it could be used: by which program?")


def _bind(path: str, owner: Owner) -> socket.socket | None:
    """A listening socket that only its owner can reach, with the group if it names one; None when another socket has
    the path. Before it listens, which is when it has its owner, nobody can connect."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    umask = os.umask(0o077 if owner.gid < 0 else 0o007)
    bound = False
    try:
        listener.bind(path)
        bound = True
        _give(path, owner)
        listener.listen(_BACKLOG)
    except BaseException as error:
        if bound:
            with contextlib.suppress(OSError):
                _of(listener, path).close()
        listener.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            return None
        raise
    finally:
        os.umask(umask)
    return listener


def _give(path: str, owner: Owner) -> None:
    """Gives the file to its owner. Raises DeviceError."""
    if owner == ROOTS_ALONE:
        return
    try:
        os.chown(path, *owner, follow_symlinks=False)
    except FileNotFoundError:
        pass  # `_make` finds that out
    except OSError as error:
        text = f"{path} can't be given to its owner: {error.strerror}; it needs root, or CAP_CHOWN"
        raise DeviceError(error.errno or errno.EIO, text) from error


def _of(listener: socket.socket, path: str | None) -> UapiSocket:
    """With the file that it is bound to, unless that is gone. Raises OSError."""
    if path is None:
        return UapiSocket(listener, None, None)
    fd = -1
    with contextlib.suppress(OSError):
        fd = _open_file(listener, path)
    if fd < 0:
        return UapiSocket(listener, path, _file_at(path))
    try:
        its = os.fstat(fd)
    except BaseException:
        os.close(fd)
        raise
    return UapiSocket(listener, path, SocketFile(path, its.st_dev, its.st_ino) if its.st_nlink else None, fd)


def _open_file(listener: socket.socket, path: str) -> int:
    """A descriptor, the caller's, of the file that `listener` is bound to, with O_PATH; where the kernel does not say
    which that is (before Linux 4.11, or without CAP_NET_ADMIN), of what lies at `path`. Raises OSError."""
    with contextlib.suppress(OSError):
        return fcntl.ioctl(listener, _SIOCUNIXFILE)
    return os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)


def _file_at(path: str) -> SocketFile | None:
    """None: there is no such file. Raises OSError where the system won't tell: that must end no tunnel."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return SocketFile(path, found.st_dev, found.st_ino)


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
        text = (
            f"{interface} answers root alone ({path}: {error.strerror}): run this as root, or start its daemon with "
            "--monitor-socket or --socket-owner"
        )
    elif is_kernels(interface):
        text = (
            f"no daemon answers for {interface}: the kernel's own WireGuard serves it; `wg show {interface}` shows it"
        )
    elif code == errno.ENOENT:
        return NoDaemonError(code, f"no daemon answers for {interface}: there is no {path}", interface)
    else:
        text = f"no daemon answers for {interface} ({path}): {error.strerror}"
    return DeviceError(code, text)
