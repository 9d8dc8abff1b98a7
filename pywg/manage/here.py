"""What this machine has, as far as a wg-quick file depends on it."""

import contextlib
import errno
import shutil
import socket
from pathlib import Path
from typing import Final

from pywg.runtime.base.in_use import daemon_here

_TABLE_FILES: Final = ("/etc/iproute2/rt_tables", "/usr/share/iproute2/rt_tables", "/usr/lib/iproute2/rt_tables")
_TABLE_FOLDERS: Final = tuple(f"{file}.d" for file in _TABLE_FILES)


def table_is_known(table: str) -> bool:
    """Whether `ip route add table TABLE` takes it: a number, one of wg-quick's words, or a name of rt_tables."""
    if table in {"auto", "off", "main", "local", "default", "unspec"}:
        return True
    with contextlib.suppress(ValueError):
        return 0 <= int(table, 0) < 1 << 32
    files = [Path(file) for file in _TABLE_FILES]
    files += [file for folder in _TABLE_FOLDERS for file in sorted(Path(folder).glob("*.conf"))]
    for file in files:
        with contextlib.suppress(OSError):
            for line in file.read_text(errors="replace").splitlines():
                if line.partition("#")[0].split()[1:2] == [table]:
                    return True
    return False


def has_dns_tool() -> bool:
    """Whether a program is here that takes name servers for an interface."""
    return bool(shutil.which("resolvectl") or shutil.which("resolvconf"))


def port_is_taken(port: int, interface: str) -> bool:
    """Whether another program has the UDP port. Not when the interface is up: then it is its own."""
    if daemon_here(interface) is not None:
        return False
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind(("", port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return True
    return False
