"""The state file of an interface that is up: what was done for it, so that it can be undone even if its file has
changed since, or the command that did it was killed. It is root's alone, and has no key.

The same name may be up in several network namespaces, each with a file of its own (`pywg.manage.names.state_files`). A
lock beside it keeps two commands from changing the same interface at a time.
"""

import base64
import contextlib
import errno
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pywg.errors import DeviceError
from pywg.manage.names import state_files
from pywg.manage.tunnel.steps import Step
from pywg.manage.whole_file import replacing
from pywg.runtime.base import lock_file, namespaces

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
    namespace: int = field(default_factory=namespaces.of_this_thread)
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


def read(interface: str) -> State | None:
    """What is remembered of an interface of this network namespace; None when that is nothing that can be read."""
    path = _file_of(interface, namespaces.of_this_thread())
    return None if path is None else _read(path)


def _read(path: Path) -> State | None:
    try:
        given = json.loads(path.read_text())
        if given["version"] != _VERSION:
            return None
        return State(
            path.stem.partition("@")[0],
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
    text = json.dumps(given).encode()
    keyed, plain = map(Path, state_files(state.interface, state.namespace, states=DIRECTORY))
    path = _file_of(state.interface, state.namespace)
    if path is None:
        try:
            with replacing(plain, first=True) as file:  # of two namespaces that come at a time, one has it
                file.write(text)
        except FileExistsError:
            path = plain if _read(plain) is None else keyed
        else:
            return
    with replacing(path) as file:
        file.write(text)


def forget(interface: str) -> None:
    """Nothing stands any more, in this network namespace."""
    path = _file_of(interface, namespaces.of_this_thread())
    if path is not None:
        path.unlink(missing_ok=True)


def others(interface: str) -> Iterator[State]:
    """Of all that is up, in all namespaces, but the interface in this one."""
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(Path(DIRECTORY).glob("*.json")):
            state = _read(path)
            if state is not None and (state.interface, state.namespace) != (interface, namespaces.of_this_thread()):
                yield state


@contextlib.contextmanager
def locked(interface: str) -> Iterator[None]:
    """No other command changes the interface during the body. Raises DeviceError EBUSY when one does already."""
    os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
    path = Path(DIRECTORY, f"{interface}@{namespaces.of_this_thread()}.lock")

    def taken() -> DeviceError:
        text = f"another command changes {interface} at the moment{_signed(path)}: try again when it has ended"
        return DeviceError(errno.EBUSY, text)

    with lock_file.locked(path, taken=taken) as fd:
        os.truncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        yield


def _signed(path: Path) -> str:
    """The process that has signed a lock file, in brackets after a space; empty where it is not known."""
    with contextlib.suppress(OSError, ValueError):
        return f" (PID {int(path.read_text())})"
    return ""


def _file_of(interface: str, of: int) -> Path | None:
    """The file of an interface in a namespace; None: there is none that can be read."""
    for path in map(Path, state_files(interface, of, states=DIRECTORY)):
        if (state := _read(path)) is not None and state.namespace == of:
            return path
    return None


def _step(given: dict[str, Any]) -> Step:
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    name = values.pop("step")
    kind = next((one for one in _kinds(Step) if one.__name__ == name), None)
    if kind is None:
        raise ValueError(f"a step of another version: {name}")
    return kind(**values)


def _kinds(of: type[Step]) -> Iterator[type[Step]]:
    for kind in of.__subclasses__():
        yield kind
        yield from _kinds(kind)
