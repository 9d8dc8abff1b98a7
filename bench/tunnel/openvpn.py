"""OpenVPN as an end of the tunnel: point to point, over UDP, certificates checked by fingerprint.

Like every daemon here it runs as it comes, but for the MTU, which is that of the other tunnels. openvpn-tuned adds what
its manual offers for speed: large socket buffers and --fast-io. The kernel's data channel offload stays off: user
space is compared with user space.
"""

import json
from pathlib import Path

from .command import CommandError, run
from .site import Site, outer_address

PORT = 1194
TUN_MTU = 1420
TUNING = {"sndbuf": str(7 << 20), "rcvbuf": str(7 << 20), "fast-io": ""}
_UP = "Initialization Sequence Completed"


class OpenVpnSite(Site):
    """One end served by OpenVPN. `wg`, UAPI and peers other than the one at the far end do not exist here."""

    def start(self) -> None:
        """Starts the daemon and returns when its interface is there; ready_s is how long that took."""
        certificate, key = self._identity()
        assert self.implementation is not None
        options = {
            "dev": self.interface,
            "dev-type": "tun",
            "proto": "udp4",
            "local": self.outer(4),
            "remote": outer_address(3 - self.number, 4),
            "port": str(PORT),
            "tls-server" if self.number == 2 else "tls-client": "",
            **({"dh": "none"} if self.number == 2 else {}),
            "cert": str(certificate),
            "key": str(key),
            "peer-fingerprint": _fingerprint(certificate),
            "data-ciphers": self.implementation.openvpn_cipher,
            "tun-mtu": str(TUN_MTU),
            "disable-dco": "",
            "verb": "4",
            **(TUNING if self.implementation.openvpn_tuned else {}),
        }
        argv = [*self.implementation.command]
        for name, value in options.items():
            argv += [f"--{name}", *value.split()]
        self.launch(argv, self._has_interface, f"OpenVPN makes {self.interface}")

    def _has_interface(self) -> bool:
        return f"{self.interface}:" in Path(f"/proc/{self.pid}/net/dev").read_text()

    def _identity(self) -> tuple[Path, Path]:
        """A certificate and its key that both ends of a lab share: their identity is not what is measured."""
        certificate, key = self.directory / "openvpn.crt", self.directory / "openvpn.key"
        if not certificate.exists():
            subject = ["-subj", "/CN=lab", "-days", "2"]
            curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
            run("openssl", "req", "-x509", *curve, *subject, "-keyout", str(key), "-out", str(certificate))
        return certificate, key

    def configure(self, mtu: int) -> None:
        """Gives the interface its addresses and takes it up. ValueError for another MTU than it was started with."""
        if mtu != TUN_MTU:
            raise ValueError(f"OpenVPN was started with an MTU of {TUN_MTU}")
        self.bring_up(mtu)

    def add_peer(self, peer: Site, *, preshared_key: str | None = None, endpoint: int | None = None) -> None:
        """Does nothing: the command line has named the peer. ValueError for what it can't have."""
        if preshared_key is not None or endpoint == 6:
            raise ValueError("OpenVPN in this lab has no preshared key, and IPv4 outside")

    def transferred(self) -> tuple[int, int]:
        """The bytes of the inner packets that came out of the tunnel and went into it."""
        (link,) = json.loads(self.ip("-j", "-s", "link", "show", "dev", self.interface))
        # The TUN's "received" are those that the daemon wrote to it.
        return link["stats64"]["rx"]["bytes"], link["stats64"]["tx"]["bytes"]

    def has_handshake(self) -> bool:
        """Whether the connection is up, with the cipher that was asked for. CommandError when it has another."""
        log = self.log.read_text(errors="replace") if self.log.exists() else ""
        if _UP not in log:
            return False
        assert self.implementation is not None
        if f"cipher '{self.implementation.openvpn_cipher}'" not in log:
            raise CommandError(f"OpenVPN does not use {self.implementation.openvpn_cipher}\n{self.log_tail()}")
        return True


def _fingerprint(certificate: Path) -> str:
    said = run("openssl", "x509", "-in", str(certificate), "-noout", "-fingerprint", "-sha256")
    return said.strip().partition("=")[2]
