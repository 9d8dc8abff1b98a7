"""Which interfaces there are, and what is seen of each in an interval: the work of `pywg status` and `pywg top`."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pywg.errors import DeviceError
from pywg.manage.client import served
from pywg.manage.kernels import kernels
from pywg.manage.sight import Rates, Sight, glance, look, rates


@dataclass(slots=True)
class Found:
    """What runs: seen, or refused to the caller in one line by name, and the kernel's own interfaces."""

    seen: list[tuple[Sight, Rates | None]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    kernels: list[str] = field(default_factory=list)


def gather(
    interface: str | None,
    interval: float,
    *,
    directory: str | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> Found:
    """Looks at one interface, or at all, and for the rates twice; an `interval` of 0 s: once, and without rates.

    An interface that is removed meanwhile is not there. Raises DeviceError for one interface that has no daemon or
    that the caller may not ask about.
    """
    found = Found(kernels=[] if interface else kernels())
    names = [interface] if interface else served(directory=directory)
    before: dict[str, Sight] = {}
    if interval:
        before = _all(names, lambda name: glance(name, directory=directory), found, strict=bool(interface))
        if before:
            wait(interval)
    sights = _all(names, lambda name: look(name, directory=directory), found, strict=bool(interface))
    for name, sight in sights.items():
        found.seen.append((sight, rates(before[name], sight) if name in before else None))
    return found


def _all(names: Iterable[str], see: Callable[[str], Sight], found: Found, *, strict: bool) -> dict[str, Sight]:
    sights = {}
    for name in names:
        try:
            sights[name] = see(name)
            found.refused.pop(name, None)
        except DeviceError as error:
            if strict:
                raise
            found.refused[name] = error.strerror or str(error)
    return sights
