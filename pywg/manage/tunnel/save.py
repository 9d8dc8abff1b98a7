"""SaveConfig: the file of an interface, written anew from what runs."""

import contextlib
import os
import tempfile

from pywg.config.addresses import format_sock_addr, split_host_port
from pywg.config.model import ZERO_KEY, DeviceStatus, PeerStatus, Prefix
from pywg.config.wg_quick import InterfaceSection, PeerSection, WgQuickConfig, format
from pywg.errors import DeviceError

_LINK_LOCAL = b"\xfe\x80"


def saved(file: WgQuickConfig, running: DeviceStatus, addresses: list[Prefix], mtu: int) -> WgQuickConfig:
    """What wg-quick would save: keys, port, mark, peers and addresses as they are, the rest as the file has it.

    An address that the interface has given itself is no part of it. Names of peers stay.
    """
    old = file.interface
    names = {peer.public_key: peer.name for peer in file.peers}
    interface = InterfaceSection(
        private_key=bytes(running.private_key) if running.private_key is not None else None,
        listen_port=running.listen_port or None,
        fwmark=running.fwmark or None,
        addresses=[one for one in addresses if not one[0].startswith(_LINK_LOCAL) or one in old.addresses],
        dns=old.dns,
        mtu=mtu if old.mtu is not None else None,
        table=old.table,
        pre_up=old.pre_up,
        post_up=old.post_up,
        pre_down=old.pre_down,
        post_down=old.post_down,
        save_config=old.save_config,
        name=old.name,
    )
    return WgQuickConfig(interface, [_section(peer, names.get(peer.public_key, "")) for peer in running.peers])


def write(path: str, config: WgQuickConfig) -> None:
    """Replaces a file, by way of another one: a reader finds all of the old or all of the new. Raises DeviceError."""
    path = os.path.realpath(path)
    try:
        fd, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path))  # mode 0600
        try:
            with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(format(config))
                file.flush()
                os.fsync(fd)
            os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise DeviceError(error.errno or 5, f"{path} can't be saved: {error.strerror}") from error


def _section(peer: PeerStatus, name: str) -> PeerSection:
    preshared_key = bytes(peer.preshared_key)
    return PeerSection(
        peer.public_key,
        preshared_key=None if preshared_key == ZERO_KEY else preshared_key,
        allowed_ips=peer.allowed_ips,
        endpoint=split_host_port(format_sock_addr(peer.endpoint)) if peer.endpoint else None,
        persistent_keepalive=peer.persistent_keepalive or None,
        name=name,
    )
