"""What one device is at a moment, as another process needs it to go on: gathered, written, read, and put in place.

Of each peer the core knows one part, the plane another; the device knows port, mark and MTU. What is read comes from
another process: whatever it says, it is checked here, by the core (CarriedPeer.check) and by the plane, or is no more
than a configuration that any client of the socket could have set.

Counters but those of peers, handshakes in flight and cookies are not carried.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple, cast

from pywg.config.model import Prefix
from pywg.constants import KEY_LEN
from pywg.core.carried import CarriedKeypair, CarriedPeer, CarriedTimers
from pywg.core.tunnel import Tunnel
from pywg.dataplane.crypto.secret import Secret
from pywg.errors import LocalProtocolError
from pywg.runtime.base.parcel import Reader, Writer, bad_parcel
from pywg.runtime.device.plane import Addr, DataPlane, KeypairState

_MOST_PEERS = 1 << 20
_MOST_PREFIXES = 1 << 20
_MOST_KEYPAIRS = 4
_WINDOW_LEN = 8 + 1024
_DEVICE = struct.Struct("=HHIBBII")
"""port, port that was asked for, mark, up, whether the sockets are in use, MTU, peers"""
_PEER = struct.Struct("=32sHQd12sQdB")
_TIMERS = struct.Struct("=Iddddddd")
_CORE_KEYPAIR = struct.Struct("=BIBdB")
_KEYPAIR = struct.Struct("=IIBBQQBB")
_ACTIVITY = struct.Struct("=7Q")
_ENDPOINT = struct.Struct("=HII")
_ONE, _TWO = struct.Struct("=B"), struct.Struct("=BB")
_PREFIX_LEN_MOST = 18
_FIXED = 96
_PEER_BYTES = 512 + 3 * (_WINDOW_LEN + 2 * KEY_LEN + 128)
_PREFIX_BYTES = _PREFIX_LEN_MOST + 4

Activity = tuple[int, int, int, int, int, int, int]


class Peer(NamedTuple):
    """All of one peer."""

    core: CarriedPeer
    endpoint: Addr | None
    endpoint_is_set: bool
    """by configuration"""
    allowed_ips: list[Prefix]
    activity: Activity
    keypairs: list[KeypairState]


class DeviceState(NamedTuple):
    """All of one device. `private_key` is the live handle where it is told, and taken over where it is resumed."""

    private_key: Secret | None
    port: int
    asked_port: int
    fwmark: int
    up: bool
    in_use: bool
    """whether the sockets are in use, and not merely held"""
    mtu: int
    peers: list[Peer]


def most_bytes(tunnel: Tunnel, plane: DataPlane) -> int:
    """Bytes that the state takes at most, as things stand."""
    peers = list(tunnel.peers())
    return _FIXED + _PEER_BYTES * len(peers) + _PREFIX_BYTES * sum(len(plane.allowed_ips(peer)) for peer in peers)


def gather(tunnel: Tunnel, plane: DataPlane, peer: int, *, endpoint_is_set: bool) -> Peer:
    """One peer of a frozen plane."""
    return Peer(
        tunnel.carried(peer),
        plane.endpoint(peer),
        endpoint_is_set,
        plane.allowed_ips(peer),
        plane.carried_activity(peer),
        list(map(KeypairState._make, plane.carried_keypairs(peer))),
    )


def write(state: DeviceState, to: Writer) -> None:
    """Writes it. The secrets of sessions are the writer's from then on, to be wiped once they are written."""
    up, in_use = int(state.up), int(state.in_use)
    to.put(_DEVICE, state.port, state.asked_port, state.fwmark, up, in_use, state.mtu, len(state.peers))
    to.put_secret(state.private_key)
    for peer in state.peers:
        _write_core(peer.core, to)
        to.put(_ACTIVITY, *peer.activity)
        to.put(_TWO, int(peer.endpoint is not None), int(peer.endpoint_is_set))
        if peer.endpoint is not None:
            ip, port, scope, local_ip, local_ifindex = peer.endpoint
            to.put(_ENDPOINT, port, scope, local_ifindex)
            to.put_bytes(ip)
            to.put_bytes(local_ip)
        prefixes = b"".join(bytes([len(ip), cidr]) + ip for ip, cidr in peer.allowed_ips)
        to.put_bytes(prefixes)
        to.put(_ONE, len(peer.keypairs))
        for one in peer.keypairs:
            ages = one.birth_ns, one.next_counter
            flags = one.sending, one.unconfirmed
            to.put(_KEYPAIR, one.local_index, one.remote_index, one.initiator, one.expired, *ages, *flags)
            to.put_bytes(one.window)
            to.put_secret(one.keys)


def _write_core(core: CarriedPeer, to: Writer) -> None:
    to.put(
        _PEER,
        core.public_key,
        core.persistent_keepalive,
        core.last_handshake_wall_ns,
        core.last_sent_handshake,
        core.latest_timestamp,
        core.last_sent_ns,
        core.last_consumption,
        len(core.keypairs),
    )
    to.put_secret(core.preshared_key)
    to.put(_TIMERS, *core.timers)
    for keypair in core.keypairs:
        to.put(_CORE_KEYPAIR, *keypair)


def read(source: Reader) -> DeviceState:
    """Reads what `write` has written. Raises DeviceError EBADMSG."""
    port, asked, fwmark, up, in_use, mtu, count = source.take(_DEVICE)
    if count > _MOST_PEERS:
        raise bad_parcel(f"{count} peers")
    private_key = source.take_secret(KEY_LEN)
    peers = [_read_peer(source) for _ in range(count)]
    return DeviceState(private_key, port, asked, fwmark, bool(up), bool(in_use), mtu, peers)


def _read_peer(source: Reader) -> Peer:
    core = _read_core(source)
    activity = cast("Activity", source.take(_ACTIVITY))
    has_endpoint, is_set = source.take(_TWO)
    endpoint: Addr | None = None
    if has_endpoint:
        port, scope, local_ifindex = source.take(_ENDPOINT)
        ip, local_ip = source.take_bytes(16), source.take_bytes(16)
        if len(ip) not in (4, 16) or len(local_ip) not in (0, len(ip)):
            raise bad_parcel("an address of another length")
        endpoint = (ip, port, scope, local_ip, local_ifindex)
    prefixes = list(_prefixes(source.take_bytes(_MOST_PREFIXES * _PREFIX_BYTES)))
    (count,) = source.take(_ONE)
    if count > _MOST_KEYPAIRS:
        raise bad_parcel(f"{count} keypairs of one peer")
    keypairs = [_read_keypair(source) for _ in range(count)]
    return Peer(core, endpoint, bool(is_set), prefixes, activity, keypairs)


def _prefixes(data: bytes) -> Iterator[Prefix]:
    at = 0
    while at < len(data):
        length = data[at]
        ip = data[at + 2 : at + 2 + length]
        if length not in (4, 16) or len(ip) != length:
            raise bad_parcel("an allowed IP of another length")
        yield ip, data[at + 1]
        at += 2 + length


def _read_core(source: Reader) -> CarriedPeer:
    public_key, keepalive, handshake_wall, sent_at, latest, sent_ns, consumed_at, count = source.take(_PEER)
    preshared_key = source.take_secret(KEY_LEN)
    timers = CarriedTimers(*source.take(_TIMERS))
    if count > _MOST_KEYPAIRS:
        raise bad_parcel(f"{count} keypairs of one peer")
    keypairs = []
    for _ in range(count):
        role, index, initiator, created_at, may_send = source.take(_CORE_KEYPAIR)
        keypairs.append(CarriedKeypair(role, index, bool(initiator), created_at, bool(may_send)))
    key, timestamp = cast("tuple[bytes, bytes]", (public_key, latest))
    return CarriedPeer(
        key, preshared_key, keepalive, handshake_wall, sent_at, timestamp, sent_ns, consumed_at, timers, tuple(keypairs)
    )


def _read_keypair(source: Reader) -> KeypairState:
    local, remote, initiator, expired, birth, counter, sending, unconfirmed = source.take(_KEYPAIR)
    window = source.take_bytes(_WINDOW_LEN)
    keys = source.take_secret(2 * KEY_LEN)
    if keys is None:
        raise bad_parcel("a keypair without keys")
    flags = bool(sending), bool(unconfirmed)
    return KeypairState(local, remote, keys, bool(initiator), bool(expired), birth, counter, window, *flags)


def put_in_place(peer: Peer, tunnel: Tunnel, plane: DataPlane, now: float) -> tuple[int, set[int]]:
    """Adds the peer to both planes. Its number, and the keypairs that the data plane lacks, by local index.

    Raises DeviceError EBADMSG for what can't be, MemoryError.
    """
    known = {keypair.local_index for keypair in peer.core.keypairs}
    installed = {keypair.local_index for keypair in peer.keypairs}
    if not installed <= known:
        raise bad_parcel("a keypair that has no role")
    try:
        number = tunnel.resume(peer.core, now)
        plane.add_peer(number, peer.core.public_key)
        if peer.endpoint is not None:
            plane.set_endpoint(number, peer.endpoint)
        plane.allow_many(number, peer.allowed_ips)
        plane.restore_activity(number, peer.activity)
        for keypair in peer.keypairs:
            plane.restore_keypair(number, keypair)
            keypair.keys.wipe()
    except (LocalProtocolError, ValueError) as error:
        raise bad_parcel(str(error)) from error
    return number, known - installed
