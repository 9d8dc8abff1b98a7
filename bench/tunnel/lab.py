"""Two sites joined by a veth, with a WireGuard daemon at each end, for as long as a `with` block lasts.

    near namespace                                   far namespace
      veth 10.77.0.1, fd00:77::1  <--- veth pair --->  veth 10.77.0.2, fd00:77::2
      pwXXXXXXa 10.78.0.1, fd00:78::1                  pwXXXXXXb 10.78.0.2, fd00:78::2

The near site knows the far one's endpoint and not the other way round, so near is the first initiator and far the
first responder; a far daemon that does not roam is told where near is. All names are unique to this lab: UAPI sockets
lie in one directory for all namespaces. Whichever way the block ends, no namespace, process, socket or file stays.
What was killed outright leaves them, under names that say whose they are: `remove_orphans` clears that away.
"""

import atexit
import contextlib
import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from . import signals
from .command import CommandError, run
from .forwarder import ForwarderSite
from .implementations import Implementation, find
from .namespace import Namespace
from .openvpn import OpenVpnSite
from .site import LINK, UAPI_DIR, Site, poll

_NAMESPACES = Path("/run/netns")
_NAMESPACE_NAME = re.compile(r"pywg-(?P<pid>\d+)-(?P<tag>[0-9a-f]{6})(?P<letter>[ab])")


class Lab:
    """Two namespaces and a veth, and unless `near` and `far` are None, a daemon at each end and a tunnel between them.

    `outer` (4 or 6) is the IP version that carries the tunnel; inside there are always both. `mtu` is the tunnel's,
    `link_mtu` the veth's. With `connect=False` the daemons run, but nothing is configured. Raises CommandError when a
    tool or a daemon fails.
    """

    def __init__(
        self,
        near: str | Implementation | None,
        far: str | Implementation | None,
        *,
        outer: int = 4,
        psk: bool = False,
        mtu: int = 1420,
        link_mtu: int = 1500,
        connect: bool = True,
    ) -> None:
        ends = [find(end) if isinstance(end, str) else end for end in (near, far)]
        self.outer = outer
        self.mtu = mtu
        self.preshared_key = run("wg", "genpsk").strip() if psk else None
        self._link_mtu = link_mtu
        self._connect = connect
        tag = secrets.token_hex(3)
        self._directory = _directory(tag)
        self.near, self.far = (
            _kind(end)(
                number,
                namespace=Namespace(f"pywg-{os.getpid()}-{tag}{letter}"),
                interface=f"pw{tag}{letter}",
                implementation=end,
                directory=self._directory,
            )
            for number, letter, end in zip((1, 2), "ab", ends, strict=True)
        )
        self.sites = (self.near, self.far)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(signals.raised())
        # A signal in the instant between this method's end and the `with` body would skip __exit__.
        atexit.register(self.remove)
        try:
            self._build()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._stack, signals.deferred():
            self.remove()
            atexit.unregister(self.remove)

    def _build(self) -> None:
        self._directory.mkdir(mode=0o700)
        for site in self.sites:
            site.namespace.create()
        self._join()
        daemons = [site for site in self.sites if site.implementation is not None]
        for site in daemons:
            site.start()
        if not self._connect or not daemons:
            return
        for site in daemons:
            site.configure(self.mtu)
        roams = self.far.implementation is None or self.far.implementation.roams
        self.far.add_peer(self.near, preshared_key=self.preshared_key, endpoint=None if roams else self.outer)
        self.near.add_peer(self.far, preshared_key=self.preshared_key, endpoint=self.outer)

    def _join(self) -> None:
        near, far = self.sites
        # Created in the namespaces themselves, so that the names never meet those of the machine.
        run(
            "ip",
            "link",
            "add",
            LINK,
            "netns",
            near.namespace.name,
            "type",
            "veth",
            "peer",
            LINK,
            "netns",
            far.namespace.name,
        )
        for site in self.sites:
            site.ip("link", "set", LINK, "mtu", str(self._link_mtu))
            site.ip("address", "add", f"{site.outer(4)}/24", "dev", LINK)
            site.ip("address", "add", f"{site.outer(6)}/64", "dev", LINK, "nodad")
            site.ip("link", "set", LINK, "up")

    def establish(self, within_s: float = 20.0) -> None:
        """Pings through the tunnel until it answers, and makes sure that both ends report the handshake."""

        def answers() -> bool:
            with contextlib.suppress(CommandError):
                return bool(self.near.namespace.run("ping", "-n", "-c", "1", "-W", "0.2", self.far.inner(4)))
            return False

        poll(answers, "a ping through the tunnel is answered", within_s)
        for site in self.sites:
            poll(site.has_handshake, f"{site.name} reports the handshake", within_s)

    def remove(self) -> None:
        """Ends every process of the lab and removes all it made. May be called twice, and on a half-built lab."""
        with contextlib.ExitStack() as steps:  # each step runs, whatever becomes of the others
            steps.callback(shutil.rmtree, self._directory, ignore_errors=True)
            for site in self.sites:
                steps.callback(_remove_sockets, site.interface)
            for site in self.sites:
                steps.callback(site.namespace.remove)


def _kind(end: Implementation | None) -> type[Site]:
    if end is not None and end.bare:
        return ForwarderSite
    return OpenVpnSite if end is not None and end.openvpn_cipher else Site


def remove_orphans() -> list[str]:
    """Removes the labs whose process is gone, killed before it could; returns the names of their namespaces."""
    removed = []
    for path in sorted(_NAMESPACES.glob("pywg-*")):
        found = _NAMESPACE_NAME.fullmatch(path.name)
        if found is None or Path("/proc", found["pid"]).exists():
            continue
        with contextlib.suppress(CommandError):  # another process clears it away just now
            Namespace(path.name).remove()
            _remove_sockets(f"pw{found['tag']}{found['letter']}")
            shutil.rmtree(_directory(found["tag"]), ignore_errors=True)
            removed.append(path.name)
    return removed


def _remove_sockets(interface: str) -> None:
    """Removes what a killed daemon left where `wg` looks: its configuration socket, and the one for monitoring."""
    for path in UAPI_DIR.glob(f"{interface}.*"):
        path.unlink(missing_ok=True)


def _directory(tag: str) -> Path:
    return Path(tempfile.gettempdir(), f"pywg-lab-{tag}")
