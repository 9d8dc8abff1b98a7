"""The kernel's own WireGuard interfaces, which are wg's to show and no daemon's."""

import contextlib
import os

from pywg.runtime.base.in_use import is_kernels

_INTERFACES = "/sys/class/net"


def kernels(directory: str = _INTERFACES) -> list[str]:
    """Their names in the network namespace of /sys, by their index, as `wg show interfaces` lists them."""
    found: list[tuple[int, str]] = []
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            if is_kernels(name):
                found.append((_index(directory, name), name))
    return [name for _, name in sorted(found)]


def whose(name: str) -> str:
    """One line: whose the interface is, and what shows it."""
    return f"{name} is the kernel's own WireGuard: `wg show {name}` shows it"


def _index(directory: str, name: str) -> int:
    with contextlib.suppress(OSError, ValueError), open(f"{directory}/{name}/ifindex") as index:
        return int(index.read())
    return 0
