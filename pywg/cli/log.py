"""`pywg log IFACE LEVEL`: a running daemon's log level, until it ends or is told another."""

import errno

from pywg.cli.ask import ask
from pywg.errors import ConfigError, DeviceError
from pywg.runtime.log import Level

LEVELS = (*(level.name.lower() for level in Level), "verbose")


def set_level(interface: str, level: str) -> int:
    """Sets it and returns 0. Raises ConfigError for a word that is no level, DeviceError without a daemon of ours.

    A daemon that went to the background without LOG_LEVEL has given its standard error away, and stays silent.
    """
    if level.lower() not in LEVELS:
        raise ConfigError(f"{level!a} is no log level: it may be {', '.join(LEVELS[:-1])} or {LEVELS[-1]}")
    if ask(interface, f"log_level={level}\n\n".encode()) != ["errno=0"]:
        raise DeviceError(errno.ENOTSUP, f"the log level of {interface} can't be changed: its daemon is not pywg")
    return 0
