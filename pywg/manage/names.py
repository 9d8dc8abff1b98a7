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

CONFIGURATIONS = "/etc/wireguard"
STATES = "/run/pywg"
"""A file NAME.json there is of an interface that `pywg up` has set up; its "file" is the configuration's path."""
_MOST_BYTES = 64 << 20


def names_of(interface: str, *, configurations: str = CONFIGURATIONS, states: str = STATES) -> dict[bytes, str]:
    """The names of the peers of `interface` by their public keys. A peer without a name isn't in it."""
    path = configuration_of(interface, configurations=configurations, states=states)
    with contextlib.suppress(OSError, ValueError, ConfigError):
        peers = wg_quick.read(_text(path), path).config.peers  # an error elsewhere in the file takes no name away
        named = {peer.public_key: printable(peer.name).strip() for peer in peers}
        return {key: name for key, name in named.items() if key and name}
    return {}


def configuration_of(interface: str, *, configurations: str = CONFIGURATIONS, states: str = STATES) -> str:
    """The path of the file that `interface` was set up with, or would be; the file need not exist."""
    return _file_of(interface, states) or os.path.join(configurations, f"{interface}.conf")


def _file_of(interface: str, states: str) -> str:
    """The path that the state's file names; "" for none."""
    with contextlib.suppress(OSError, ValueError):
        state = json.loads(_text(os.path.join(states, f"{interface}.json")))
        path = state.get("file") if isinstance(state, dict) else None
        return path if isinstance(path, str) else ""
    return ""


def _text(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would hold the command up
    with open(fd, encoding="utf-8", errors="replace") as file:
        return file.read(_MOST_BYTES)
