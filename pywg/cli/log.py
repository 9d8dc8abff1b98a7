"""`pywg log IFACE LEVEL`: a running daemon's log level, until it ends or is told another."""

import errno

from pywg.cli.uapi_client import ask
from pywg.errors import DeviceError
from pywg.runtime.base.log import parse_level


def set_level(interface: str, level: str) -> int:
    """Sets it and returns 0. Raises ConfigError for a word that is no level, DeviceError without a daemon of ours.

    A daemon that went to the background without LOG_LEVEL has no standard error: its lines go to the system's log.
    """
    word = parse_level(level).name.lower()
    if ask(interface, f"log_level={word}\n\n".encode()) != ["errno=0"]:
        raise DeviceError(errno.ENOTSUP, f"the log level of {interface} can't be changed: its daemon is not pywg")
    return 0
