"""Names of peers: the operator's own, from the file that an interface was set up with.

They are a help and never a condition: a file that isn't there, that the caller may not read, or that can't be read in
its language, gives none.
"""

import contextlib
import json
import os

from pywg.config import wg_quick
from pywg.errors import ConfigError
from pywg.manage.units import printable
from pywg.runtime.base import namespaces

CONFIGURATIONS = "/etc/wireguard"
STATES = "/run/pywg"
"""A file there is of an interface that `pywg up` has set up; its "file" is the configuration's path."""
_MOST_BYTES = 64 << 20


def names_of(interface: str, *, configurations: str = CONFIGURATIONS, states: str = STATES) -> dict[bytes, str]:
    """The names of the peers of `interface` by their public keys. A peer without a name isn't in it."""
    path = configuration_of(interface, configurations=configurations, states=states)
    with contextlib.suppress(OSError, ValueError, ConfigError):
        reading = wg_quick.read(wg_quick.as_text(contents(path)), path)
        peers = reading.config.peers  # an error elsewhere in the file takes no name away
        named = {peer.public_key: printable(peer.name).strip() for peer in peers}
        return {key: name for key, name in named.items() if key and name}
    return {}


def configuration_of(interface: str, *, configurations: str = CONFIGURATIONS, states: str = STATES) -> str:
    """The path of the file that `interface` was set up with, or would be; the file need not exist."""
    return _file_of(interface, states) or os.path.join(configurations, f"{interface}.conf")


def state_files(interface: str, namespace: int, *, states: str = STATES) -> tuple[str, str]:
    """Where what is remembered of an interface in a network namespace may be: under a name that only this namespace
    has, or under the plain one, which is the first's that came. No interface's name has an @."""
    return os.path.join(states, f"{interface}@{namespace}.json"), os.path.join(states, f"{interface}.json")


def _file_of(interface: str, states: str) -> str:
    """The path that the state's file names; "" for none."""
    here = namespaces.of_this_thread()
    for path in state_files(interface, here, states=states):
        with contextlib.suppress(OSError, ValueError):
            state = json.loads(contents(path))
            if isinstance(state, dict) and state.get("namespace", here) == here:
                file = state.get("file")
                return file if isinstance(file, str) else ""
    return ""


def contents(path: str) -> bytes:
    """What is in a file that another may have put there: its beginning, of one that has no end. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would hold the command up
    with open(fd, "rb") as file:
        return file.read(_MOST_BYTES)
