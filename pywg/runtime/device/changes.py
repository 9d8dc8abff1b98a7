"""What a change of the configuration does to one device's core, plane and sockets.

The change is first resolved as a whole: all that can fail is done beside what is in use. Then it is applied, which a
lack of memory alone can interrupt. The semantics are those of the kernel's netlink and of wireguard-go's UAPI.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pywg.config.keys import clamp
from pywg.config.model import DeviceChange, PeerChange, Prefix
from pywg.core.events import Endpoint
from pywg.core.handshake import Identity
from pywg.core.tunnel import Tunnel
from pywg.dataplane.crypto.secret import Secret
from pywg.runtime.base.log import Log, peer_name
from pywg.runtime.device.announcer import Announcer
from pywg.runtime.device.bridge import Bridge, surely
from pywg.runtime.device.handshake_log import HandshakeLog
from pywg.runtime.device.listen_port import ListenPort
from pywg.runtime.device.plane import DataPlane


@dataclass(slots=True)
class _NewKey:
    """A private key to be set, with all that is computed from it: None clears it."""

    identity: Identity | None


class Changes:
    """Applies changes to one device, of which these are the parts.

    `endpoint`: that of a peer, None when unknown. `clear_sources`: lets the routing table choose all sources again.
    """

    def __init__(
        self,
        tunnel: Tunnel,
        plane: DataPlane,
        bridge: Bridge,
        *,
        listen_port: ListenPort,
        handshakes: HandshakeLog,
        announcer: Announcer,
        log: Log,
        now: Callable[[], float],
        endpoint: Callable[[int], Endpoint | None],
        clear_sources: Callable[[], None],
    ) -> None:
        self._tunnel = tunnel
        self._plane = plane
        self._bridge = bridge
        self._listen_port = listen_port
        self._handshakes = handshakes
        self._announcer = announcer
        self._log = log
        self._now = now
        self._endpoint = endpoint
        self._clear_sources = clear_sources

    def apply(self, change: DeviceChange) -> None:
        """As `Device.apply`, whatever else goes on."""
        try:
            self._reserve(change)
            self._apply(change)
        finally:
            self._plane.unreserve()

    def _apply(self, change: DeviceChange) -> None:
        try:
            new_key = self._resolve_key(change)
            sockets = self._listen_port.resolve(change.listen_port, change.fwmark)
        except BaseException:
            self._tunnel.rest()  # it has worked with the key that is refused
            raise
        now = self._now()
        self._listen_port.apply(change.listen_port, change.fwmark, sockets)
        if sockets is None and change.fwmark is not None:
            self._clear_sources()
        if change.replace_peers:
            self._remove_peers(list(self._tunnel.peers()), now)
        if new_key is not None:
            self._set_key(new_key, now)
        try:
            for peer_change in change.peers:
                self._apply_peer(peer_change, now)
        finally:
            self._bridge.move()
        if not _only_probes(change):
            self._announcer.configured(_changed(change, key=new_key is not None))

    # Resolving: may fail, changes nothing

    def _resolve_key(self, change: DeviceChange) -> _NewKey | None:
        """The key to set; None when it stays the same."""
        if change.private_key is None:
            return None
        private = _taken(change.private_key)
        if not private:
            return _NewKey(None) if self._tunnel.private_key is not None else None
        with memoryview(private) as key:
            clamp(key)
        if private == self._tunnel.private_key:
            private.wipe()
            return None
        return _NewKey(Identity(private))

    def _reserve(self, change: DeviceChange) -> None:
        """Reserves memory for what the change adds. Raises MemoryError when there is none."""
        added = {peer.public_key for peer in change.peers if not peer.remove}
        known = sum(self._tunnel.peer_by_key(public_key) is not None for public_key in added)
        replaced = len(self._tunnel.peers()) - known if change.replace_peers else 0
        prefixes = sum(len(peer.allowed_ips) for peer in change.peers)
        self._plane.reserve(peers=max(len(added) - known - replaced, 0), prefixes=prefixes)

    # Applying: fails for want of memory alone

    def _set_key(self, new_key: _NewKey, now: float) -> None:
        identity = new_key.identity
        public = None if identity is None else identity.public_key
        if public is not None:
            own = self._tunnel.peer_by_key(public)
            if own is not None:
                self._remove_peers([own], now)
        self._tunnel.set_identity(identity, now)
        self._bridge.move_events()
        surely(self._plane.set_identity, public)
        self._handshakes.all_changed()
        self._announcer.all_sessions_ended()
        self._log.debug("private key set" if identity is not None else "private key cleared")

    def _apply_peer(self, change: PeerChange, now: float) -> None:
        peer = self._tunnel.peer_by_key(change.public_key)
        if change.remove:
            if peer is not None:
                self._remove_peers([peer], now)
            return
        if peer is None:
            if change.update_only or change.public_key == self._tunnel.public_key:
                return
            peer = surely(self._add_peer, change.public_key, now)
        if change.preshared_key is not None:
            self._tunnel.set_preshared_key(peer, _taken(change.preshared_key) or None)
        if change.clear_endpoint and change.endpoint is None:
            surely(self._plane.set_endpoint, peer, None)
            self._handshakes.endpoint_cleared(peer)
            self._announcer.endpoint_set(peer)
        if change.endpoint is not None:
            before = surely(self._endpoint, peer)
            surely(self._plane.set_endpoint, peer, (*change.endpoint, b"", 0))
            self._handshakes.endpoint_set(peer, moved=before is None or before[:3] != change.endpoint)
            self._announcer.endpoint_set(peer)
            if before is None:
                self._tunnel.endpoint_known(peer, now)
        if change.replace_allowed_ips:
            surely(self._plane.clear_allowed, peer)
        self._change_allowed_ips(peer, change)
        if change.probe_endpoint is not None:
            self._tunnel.probe(peer, Endpoint(*change.probe_endpoint), now)
        if change.persistent_keepalive is not None:
            self._tunnel.set_persistent_keepalive(peer, change.persistent_keepalive, now)
        if self._listen_port.in_use:
            surely(self._plane.send_staged, peer)

    def _add_peer(self, public_key: bytes, now: float) -> int:
        peer = self._tunnel.add_peer(public_key, now)
        try:
            self._plane.add_peer(peer, public_key)
        except MemoryError:
            self._tunnel.remove_peer(peer, now)
            self._bridge.move_events(unknown=peer)
            raise
        self._log.debug(f"{peer_name(public_key)} added")
        self._announcer.added(peer)
        return peer

    def _remove_peers(self, peers: list[int], now: float) -> None:
        keys = [self._tunnel.peer_state(peer).public_key for peer in peers]
        for peer in peers:
            self._tunnel.remove_peer(peer, now)
        self._bridge.move_events()
        for peer, key in zip(peers, keys, strict=True):
            surely(self._plane.remove_peer, peer)
            self._handshakes.removed(peer)
            self._announcer.removed(peer, key)
            self._log.debug(f"{peer_name(key)} removed")

    def _change_allowed_ips(self, peer: int, change: PeerChange) -> None:
        """Changes them in the order given, with one call for each run of additions."""
        run: list[Prefix] = []
        for ip, cidr, remove in change.allowed_ips:
            if not remove:
                run.append((ip, cidr))
                continue
            surely(self._plane.allow_many, peer, run)
            run = []
            surely(self._plane.disallow, peer, ip, cidr)
        surely(self._plane.allow_many, peer, run)


def _taken(key: Secret | bytes) -> Secret:
    """The key as a Secret. Wipes a key that came as bytes."""
    return key if isinstance(key, Secret) else Secret.take(key)


def _changed(change: DeviceChange, *, key: bool) -> list[str]:
    """What of a device a change names, without its values."""
    found = {
        "private_key": key,
        "listen_port": change.listen_port is not None,
        "fwmark": change.fwmark is not None,
        "peers": bool(change.peers) or change.replace_peers,
    }
    return [name for name, changed in found.items() if changed]


def _only_probes(change: DeviceChange) -> bool:
    """Whether a change sets nothing: it has peers tried elsewhere."""
    return bool(change.peers) and change == DeviceChange(
        peers=[
            PeerChange(peer.public_key, update_only=True, probe_endpoint=peer.probe_endpoint)
            for peer in change.peers
            if peer.probe_endpoint is not None
        ]
    )
