"""The bare forwarder (forwarder.c) as an end of the tunnel: what the kernel's path carries without WireGuard."""

import json
from pathlib import Path

from .site import LISTEN_PORT, Site, outer_address


class ForwarderSite(Site):
    """One end served by the forwarder. `wg`, UAPI and keys do not exist here; its peer is the other site."""

    def start(self) -> None:
        """Starts it and returns when its interface is there; ready_s is how long that took."""
        assert self.implementation is not None
        words = [self.outer(4), outer_address(3 - self.number, 4), str(LISTEN_PORT)]
        argv = [*self.implementation.command, *words, self.interface]
        self.launch(argv, self._has_interface, f"the forwarder makes {self.interface}")

    def _has_interface(self) -> bool:
        return f"{self.interface}:" in Path(f"/proc/{self.pid}/net/dev").read_text()

    def configure(self, mtu: int) -> None:
        """Gives the interface its addresses and MTU, and takes it up."""
        self.bring_up(mtu)

    def add_peer(self, peer: Site, *, preshared_key: str | None = None, endpoint: int | None = None) -> None:
        """Does nothing: the command line has named the peer. ValueError for what it can't have."""
        if preshared_key is not None or endpoint == 6:
            raise ValueError("the forwarder has no keys, and IPv4 outside")

    def transferred(self) -> tuple[int, int]:
        """The bytes of the inner packets that came out of the tunnel and went into it."""
        (link,) = json.loads(self.ip("-j", "-s", "link", "show", "dev", self.interface))
        # The TUN's "received" are those that the forwarder wrote to it.
        return link["stats64"]["rx"]["bytes"], link["stats64"]["tx"]["bytes"]

    def has_handshake(self) -> bool:
        """There is none to wait for."""
        return True
