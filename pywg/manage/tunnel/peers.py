"""Keys, port, mark and peers: what a file wants of a device, and the difference to what a device has.

Secret keys are never part of a text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pywg.config.addresses import format_prefix, format_sock_addr
from pywg.config.keys import format_key_base64
from pywg.config.model import ZERO_KEY, AllowedIpChange, DeviceChange, DeviceStatus, PeerChange, PeerStatus, Prefix
from pywg.config.wg_quick import HostPort, WgQuickConfig
from pywg.manage import client
from pywg.manage.tunnel.machine import Machine
from pywg.manage.tunnel.resolve import Addresses
from pywg.manage.tunnel.state import PeerState
from pywg.manage.tunnel.steps import Step

HIDDEN = "(hidden)"


@dataclass
class WantedPeer:
    """A peer of a file: all of its sections, the later ones before the earlier."""

    public_key: bytes
    preshared_key: bytes | None = field(default=None, repr=False)
    endpoint: HostPort | None = None
    keepalive: int | None = None
    allowed: list[Prefix] = field(default_factory=list)
    """without those that a later peer takes"""


def peers_of(config: WgQuickConfig) -> dict[bytes, WantedPeer]:
    """By public key, in the order of the file."""
    found: dict[bytes, WantedPeer] = {}
    owner: dict[Prefix, bytes] = {}
    for section in config.peers:
        key = section.public_key
        peer = found.setdefault(key, WantedPeer(key))
        if section.preshared_key is not None:
            peer.preshared_key = section.preshared_key
        if section.endpoint is not None:
            peer.endpoint = section.endpoint
        if section.persistent_keepalive is not None:
            peer.keepalive = section.persistent_keepalive
        for prefix in peer.allowed:
            owner.pop(prefix, None)
        peer.allowed = list(dict.fromkeys(section.allowed_ips))
        for prefix in peer.allowed:
            if (other := owner.get(prefix)) is not None and other != key:
                found[other].allowed.remove(prefix)
            owner[prefix] = key
    return found


@dataclass(frozen=True)
class Configure(Step):
    """A change of the device, and the one that takes it back; None: the device goes with it."""

    remembered = False

    change: DeviceChange = field(repr=False)
    back: DeviceChange | None = field(repr=False)
    commands: tuple[str, ...]

    def command(self, interface: str) -> str:
        return "\n".join(f"wg set {interface} {one}" for one in self.commands)

    def undo_command(self, interface: str) -> str:
        return ""

    def name(self, interface: str) -> str:
        return f"keys and peers of {interface}"

    def do(self, machine: Machine) -> None:
        client.change(machine.interface, self.change)

    def undo(self, machine: Machine) -> None:
        if self.back is not None:
            client.change(machine.interface, self.back)


def initial(
    config: WgQuickConfig, peers: Mapping[bytes, WantedPeer], addresses: Addresses, fwmark: int | None
) -> Configure:
    """For a device that has nothing yet. Endpoints without an address are left out, in a dry run."""
    interface = config.interface
    change = DeviceChange(interface.private_key, interface.listen_port, fwmark, replace_peers=True)
    change.peers = [_new(peer, addresses) for peer in peers.values()]
    device = ["private-key", HIDDEN] if interface.private_key is not None else []
    device += ["listen-port", str(interface.listen_port)] if interface.listen_port is not None else []
    device += ["fwmark", str(fwmark)] if fwmark else []
    commands = [" ".join(device)] if device else []
    commands += [_command(peer) for peer in peers.values()]
    return Configure(change, None, tuple(commands))


def remembered(peers: Mapping[bytes, WantedPeer], addresses: Addresses) -> dict[bytes, PeerState]:
    """What to keep in the state file."""
    return {
        key: PeerState(
            _host_port(peer.endpoint) if peer.endpoint else "",
            format_sock_addr(addresses[peer.endpoint]) if peer.endpoint in addresses else "",
            peer.preshared_key is not None,
        )
        for key, peer in peers.items()
    }


@dataclass
class Difference:
    """What has to change for a device to be what a file wants."""

    change: DeviceChange = field(default_factory=DeviceChange, repr=False)
    back: DeviceChange = field(default_factory=DeviceChange, repr=False)
    lines: list[str] = field(default_factory=list)
    """what goes with a -, what comes with a +"""

    def without_mark(self) -> "Difference":
        """Takes the change of the mark out, and returns it."""
        lines = [line for line in self.lines if line[2:].startswith("fwmark ")]
        mark = Difference(DeviceChange(fwmark=self.change.fwmark), DeviceChange(fwmark=self.back.fwmark), lines)
        self.change.fwmark = self.back.fwmark = None
        self.lines = [line for line in self.lines if line not in lines]
        return mark


def difference(
    config: WgQuickConfig,
    peers: Mapping[bytes, WantedPeer],
    addresses: Addresses,
    *,
    fwmark: int,
    running: DeviceStatus,
    before: Mapping[bytes, PeerState] | None,
    keys_stay: bool = False,
    clears: bool = True,
) -> Difference:
    """From what runs to what the file wants. What the file leaves open stays: the port, the private key.

    `before` is what the file said when it was last applied, None: not known. Endpoints that have moved since then stay
    where they are, and a preshared key that the file never had is another program's; one that it has no more goes,
    unless `keys_stay`. An endpoint that the file has no more goes where the daemon `clears` one, unless the peer has
    moved.
    """
    found = Difference()
    _device(found, config, fwmark, running)
    have = {peer.public_key: peer for peer in running.peers}
    for key, old in have.items():
        if key not in peers:
            found.change.peers.append(PeerChange(key, remove=True))
            found.back.peers.append(_as_it_is(old))
            found.lines.append(f"- peer {format_key_base64(key)}")
    for key, peer in peers.items():
        if key in have:
            last = None if before is None else before.get(key, PeerState())
            _peer(found, peer, have[key], addresses, last, keys_stay=keys_stay, clears=clears)
        else:
            found.change.peers.append(_new(peer, addresses))
            found.back.peers.append(PeerChange(key, remove=True))
            found.lines.append(f"+ {_command(peer)}")
    found.back.peers.reverse()  # a prefix goes back to its owner after its new owner has gone
    return found


def _device(found: Difference, config: WgQuickConfig, fwmark: int, running: DeviceStatus) -> None:
    interface = config.interface
    old_key = bytes(running.private_key) if running.private_key is not None else ZERO_KEY
    if interface.private_key is not None and _clamped(interface.private_key) != _clamped(old_key):
        found.change.private_key, found.back.private_key = interface.private_key, old_key
        found.lines += ["- private-key (hidden)", "+ private-key (another one: every session begins anew)"]
    if interface.listen_port and interface.listen_port != running.listen_port:
        found.change.listen_port, found.back.listen_port = interface.listen_port, running.listen_port
        found.lines += [f"- listen-port {running.listen_port}", f"+ listen-port {interface.listen_port}"]
    if fwmark != running.fwmark:
        found.change.fwmark, found.back.fwmark = fwmark, running.fwmark
        found.lines += [f"- fwmark {running.fwmark or 'off'}", f"+ fwmark {fwmark or 'off'}"]


def _peer(
    found: Difference,
    peer: WantedPeer,
    old: PeerStatus,
    addresses: Addresses,
    before: PeerState | None,
    *,
    keys_stay: bool,
    clears: bool,
) -> None:
    change, back = PeerChange(peer.public_key), PeerChange(peer.public_key)
    lines = found.lines
    known = f"peer {format_key_base64(peer.public_key)}"
    old_psk, new_psk = bytes(old.preshared_key), peer.preshared_key
    if new_psk is None and not keys_stay and (before is None or before.preshared_key):
        new_psk = ZERO_KEY
    if new_psk is not None and new_psk != old_psk:
        change.preshared_key, back.preshared_key = new_psk, old_psk
        lines += [f"- {known} preshared-key (hidden)"] if old_psk != ZERO_KEY else []
        lines += [f"+ {known} preshared-key (hidden)"] if new_psk != ZERO_KEY else []
    if peer.endpoint is not None and (new := addresses.get(peer.endpoint)) not in (None, old.endpoint):
        assert new is not None
        if before is None or before.address != format_sock_addr(new):
            change.endpoint, back.endpoint = new, old.endpoint
            back.clear_endpoint = clears and old.endpoint is None
            lines += [f"- {known} endpoint {format_sock_addr(old.endpoint)}"] if old.endpoint else []
            lines.append(f"+ {known} endpoint {_host_port(peer.endpoint)}")
    elif peer.endpoint is None and old.endpoint is not None and before is not None and clears:
        there = format_sock_addr(old.endpoint)
        if before.address == there:
            change.clear_endpoint, back.endpoint = True, old.endpoint
            lines.append(f"- {known} endpoint {there}")
    if (peer.keepalive or 0) != old.persistent_keepalive:
        change.persistent_keepalive, back.persistent_keepalive = peer.keepalive or 0, old.persistent_keepalive
        lines += [
            f"- {known} persistent-keepalive {old.persistent_keepalive or 'off'}",
            f"+ {known} persistent-keepalive {peer.keepalive or 'off'}",
        ]
    gone = [one for one in old.allowed_ips if one not in set(peer.allowed)]
    come = [one for one in peer.allowed if one not in set(old.allowed_ips)]
    change.allowed_ips = [AllowedIpChange(*one, remove=True) for one in gone] + [AllowedIpChange(*one) for one in come]
    back.allowed_ips = [AllowedIpChange(*one, remove=True) for one in come] + [AllowedIpChange(*one) for one in gone]
    lines += [f"- {known} allowed-ips {format_prefix(one)}" for one in gone]
    lines += [f"+ {known} allowed-ips {format_prefix(one)}" for one in come]
    if change != PeerChange(peer.public_key):
        found.change.peers.append(change)
        found.back.peers.append(back)


def _new(peer: WantedPeer, addresses: Addresses) -> PeerChange:
    return PeerChange(
        peer.public_key,
        preshared_key=peer.preshared_key,
        endpoint=addresses.get(peer.endpoint) if peer.endpoint else None,
        persistent_keepalive=peer.keepalive,
        replace_allowed_ips=True,
        allowed_ips=[AllowedIpChange(*prefix) for prefix in peer.allowed],
    )


def _as_it_is(peer: PeerStatus) -> PeerChange:
    return PeerChange(
        peer.public_key,
        preshared_key=bytes(peer.preshared_key),
        endpoint=peer.endpoint,
        persistent_keepalive=peer.persistent_keepalive,
        replace_allowed_ips=True,
        allowed_ips=[AllowedIpChange(*prefix) for prefix in peer.allowed_ips],
    )


def _command(peer: WantedPeer) -> str:
    words = ["peer", format_key_base64(peer.public_key)]
    words += ["preshared-key", HIDDEN] if peer.preshared_key is not None else []
    words += ["endpoint", _host_port(peer.endpoint)] if peer.endpoint is not None else []
    words += ["persistent-keepalive", str(peer.keepalive or "off")] if peer.keepalive is not None else []
    words += ["allowed-ips", ",".join(map(format_prefix, peer.allowed))] if peer.allowed else []
    return " ".join(words)


def _host_port(endpoint: HostPort) -> str:
    host, port = endpoint
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _clamped(key: bytes) -> bytes:
    if key == ZERO_KEY:
        return key
    return bytes((key[0] & 0xF8, *key[1:31], key[31] & 0x7F | 0x40))
