"""`pywg save` and SaveConfig: what runs goes into the interface's file, which keeps its comments, names and hooks."""

import errno
import os

from pywg.config import wg_quick
from pywg.config.addresses import format_sock_addr, parse_ip, split_host_port
from pywg.config.keys import format_key_base64
from pywg.config.model import ZERO_KEY, DeviceStatus, PeerStatus, Prefix
from pywg.config.quick_edit import edited
from pywg.config.wg_quick import InterfaceSection, PeerSection, WgQuickConfig
from pywg.errors import ConfigError, DeviceError
from pywg.manage import client
from pywg.manage.network import Network
from pywg.manage.tunnel import names
from pywg.manage.tunnel.names import QuickFile, Target
from pywg.manage.whole_file import replacing

_LINK_LOCAL = b"\xfe\x80"


def saved(file: WgQuickConfig, running: DeviceStatus, addresses: list[Prefix], mtu: int) -> WgQuickConfig:
    """What wg-quick would save: keys, port, mark, peers and addresses as they are, the rest as the file has it.

    An address that the interface has given itself is no part of it. Names stay: those of peers, and the host names of
    endpoints, of which what runs is but an address. A key that a hook sets stays out of the file.

    Raises ConfigError when the file's private key is not what runs, for there is none.
    """
    old = file.interface
    known = {peer.public_key: peer for peer in file.peers}
    hooks = " ".join([*old.pre_up, *old.post_up])
    if running.private_key is None and old.private_key is not None:
        raise ConfigError("the interface has no private key, and its file would lose the one that it has")
    keyed_by_hook = old.private_key is None and "private-key" in hooks
    interface = InterfaceSection(
        private_key=None if running.private_key is None or keyed_by_hook else bytes(running.private_key),
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
    return WgQuickConfig(interface, [_section(peer, known.get(peer.public_key), hooks) for peer in running.peers])


def save(target: Target) -> list[str]:
    """What runs goes into the file. Returns what stays as it was, in lines for the operator.

    Raises ConfigError or DeviceError: then the file is as it was.
    """
    with Network() as network:
        file = names.read(target)
        running = client.get(target.interface)
        link = network.link(target.interface)
        if link is None:
            raise DeviceError(errno.ENODEV, f"there is no interface {target.interface} here")
        wanted = saved(file.config, running, network.addresses(link.index), link.mtu)
    write(file, wanted)
    return [
        f"{peer.name or format_key_base64(peer.public_key)} keeps the host name of its endpoint"
        for peer in wanted.peers
        if peer.endpoint and not _is_address(peer.endpoint[0])
    ]


def write(file: QuickFile, config: WgQuickConfig) -> None:
    """Replaces the file as a whole.

    Owner and mode stay, but others may do nothing. Raises DeviceError, also when the file was edited since it was read.
    """
    path = os.path.realpath(file.target.path)
    text = edited(file.text, config)
    try:
        with replacing(path) as new, open(path, "rb") as old:
            new.write(text.encode("utf-8", "surrogateescape"))
            status = os.fstat(old.fileno())
            if wg_quick.as_text(old.read()) != file.text:
                raise OSError(errno.EBUSY, "it was edited meanwhile")
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(new.fileno(), status.st_uid, status.st_gid)
            os.fchmod(new.fileno(), status.st_mode & 0o770)
    except OSError as error:
        raise DeviceError(error.errno or 5, f"{path} can't be saved: {error.strerror}") from error


def _section(peer: PeerStatus, known: PeerSection | None, hooks: str) -> PeerSection:
    preshared_key = bytes(peer.preshared_key)
    without = preshared_key == ZERO_KEY or (known and known.preshared_key is None and "preshared-key" in hooks)
    endpoint = split_host_port(format_sock_addr(peer.endpoint)) if peer.endpoint else None
    if known and known.endpoint and not _is_address(known.endpoint[0]):
        endpoint = known.endpoint
    return PeerSection(
        peer.public_key,
        preshared_key=None if without else preshared_key,
        allowed_ips=peer.allowed_ips,
        endpoint=endpoint,
        persistent_keepalive=peer.persistent_keepalive or None,
        name=known.name if known else "",
    )


def _is_address(host: str) -> bool:
    try:
        parse_ip(host.partition("%")[0])
    except ConfigError:
        return False
    return True
