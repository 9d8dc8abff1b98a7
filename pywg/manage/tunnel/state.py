"""The state file of an interface that is up: what was done for it, so that it can be undone even if its file has
changed since, or the command that did it was killed. It is root's alone, and has no key.

A lock beside it keeps two commands from changing the same interface at a time.
"""

import base64
import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pywg.errors import DeviceError
from pywg.manage.tunnel.steps import Step

DIRECTORY = "/run/pywg"
_VERSION = 1


@dataclass
class PeerState:
    """What the file said of a peer when it was last applied."""

    endpoint: str = ""
    """HOST:PORT as written, or empty"""
    address: str = ""
    """ADDRESS:PORT that it had"""
    preshared_key: bool = False
    """whether the file has one"""


@dataclass
class State:
    """What stands."""

    interface: str
    file: str = ""
    """of the configuration; empty when there was none"""
    namespace: int = 0
    """the inode of the network namespace"""
    mtu_given: bool = False
    """whether the file has an MTU"""
    hooks: dict[str, list[str]] = field(default_factory=dict)
    peers: dict[bytes, PeerState] = field(default_factory=dict)
    """by public key"""
    steps: list[Step] = field(default_factory=list)
    """in the order in which they were done"""
    was_up: bool = False
    """whether `up` came to its end, so that PreDown and PostDown are owed"""


def namespace() -> int:
    """The inode of this thread's network namespace."""
    return os.stat("/proc/thread-self/ns/net").st_ino


def read(interface: str) -> State | None:
    """What is remembered of an interface; None when there is nothing, or nothing that can be read."""
    try:
        given = json.loads(_path(interface).read_text())
        if given["version"] != _VERSION:
            return None
        return State(
            interface,
            given["file"],
            given["namespace"],
            given["mtu_given"],
            given["hooks"],
            {base64.b64decode(key): PeerState(**peer) for key, peer in given["peers"].items()},
            [_step(one) for one in given["steps"]],
            given.get("was_up", False),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def rewrite(state: State) -> None:
    """Writes the state file: all of it or nothing. Raises OSError."""
    os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
    given = {
        "version": _VERSION,
        "file": state.file,
        "namespace": state.namespace,
        "mtu_given": state.mtu_given,
        "hooks": state.hooks,
        "peers": {base64.b64encode(key).decode(): asdict(peer) for key, peer in state.peers.items()},
        "steps": [{"step": type(step).__name__, **vars(step)} for step in state.steps if step.remembered],
        "was_up": state.was_up,
    }
    path = _path(state.interface)
    temporary = path.with_suffix(".new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(fd, "w") as file:
        json.dump(given, file)
    os.rename(temporary, path)


def forget(interface: str) -> None:
    """Nothing stands any more."""
    _path(interface).unlink(missing_ok=True)


def others(interface: str) -> Iterator[State]:
    """Of the other interfaces that are up, in all namespaces."""
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(Path(DIRECTORY).glob("*.json")):
            if path.stem != interface and (state := read(path.stem)) is not None:
                yield state


@contextlib.contextmanager
def locked(interface: str) -> Iterator[None]:
    """No other command changes the interface during the body. Raises DeviceError EBUSY when one does already."""
    os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
    path = Path(DIRECTORY, f"{interface}.lock")
    fd = _lock(path, interface)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)


def _lock(path: Path, interface: str) -> int:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(fd, 20).decode(errors="replace").strip()
            os.close(fd)
            text = f"another command changes {interface} at the moment (PID {pid}): try again when it has ended"
            raise DeviceError(errno.EBUSY, text) from None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                os.truncate(fd, 0)
                os.write(fd, f"{os.getpid()}\n".encode())
                return fd
        os.close(fd)  # its last holder has removed the file


def _path(interface: str) -> Path:
    return Path(DIRECTORY, f"{interface}.json")


def _step(given: dict[str, Any]) -> Step:
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    name = values.pop("step")
    kind = next(one for one in _kinds(Step) if one.__name__ == name)
    return kind(**values)


def _kinds(of: type[Step]) -> Iterator[type[Step]]:
    for kind in of.__subclasses__():
        yield kind
        yield from _kinds(kind)
