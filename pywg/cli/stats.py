"""`pywg stats IFACE`: the counters and offloads of a running daemon, one `name=value` a line."""

import errno

from pywg.cli.uapi_client import ask
from pywg.errors import DeviceError


def stats(interface: str) -> int:
    """Prints them and returns 0. Raises DeviceError when no daemon of ours answers."""
    lines = ask(interface, b"stats=1\n\n")
    if not lines or lines[-1] != "errno=0":
        raise DeviceError(errno.ENOTSUP, f"the daemon of {interface} has no statistics: it is not pywg")
    for line in lines[:-1]:
        print(line)
    return 0
