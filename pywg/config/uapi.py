"""The text of WireGuard's cross-platform configuration protocol, to and from the model.

Source: https://www.wireguard.com/xplatform/, and what wireguard-go answers where that page is silent. Framing (the line
"set=1" or "get=1" before, the blank line after, the "errno=" line of a reply) belongs to whoever holds the socket.

Requests and replies carry private keys: no error repeats any text of a request.

What ends in `_steps` does the same as the function without it, as a generator that pauses now and then: 10,000 peers
take a third of a second, and whoever runs an event loop has other things to do meanwhile.
"""

from collections.abc import Callable, Generator
from errno import EINVAL, EPROTO
from typing import TYPE_CHECKING, Final, TypeVar

from pywg.config.addresses import MAX_PORT, format_prefix, format_sock_addr, parse_number, parse_prefix, parse_sock_addr
from pywg.config.model import AllowedIpChange, DeviceChange, DeviceStatus, PeerChange, PeerStatus
from pywg.config.uapi_text import TextBuilder, ascii_text, key_value, lines, number_value, secret_value
from pywg.errors import ConfigError, UapiError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_Result = TypeVar("_Result")

MAX_KEEPALIVE: Final = 65535
LINES_A_STEP: Final = 512
"""Between two pauses: about a millisecond."""
_MAX_U32: Final = 2**32 - 1
_MAX_U64: Final = 2**64 - 1
_NS: Final = 1_000_000_000
_LINES_A_PEER: Final = 9
_NOT_A_LINE: Final = 'expected "key=value"'


def parse_set(request: "ReadableBuffer") -> DeviceChange:
    """Read a set operation: the lines after "set=1", up to the blank line or the end.

    UapiError names the line, 1 being the one after "set=1": EPROTO for a line without "=", EINVAL for everything else.
    Neither it nor the result keeps a reference into the request, which may be wiped or resized at once. Secret keys
    are Secrets, and gone with the result, or with the error.
    """
    return _at_once(parse_set_steps(request))


def parse_set_steps(request: "ReadableBuffer") -> Generator[None, None, DeviceChange]:
    """`parse_set` in steps; the request has to stay as it is until the last."""
    change = DeviceChange()
    error = yield from _read_set(request, change)
    if error is not None:
        raise error
    return change


def format_set(change: DeviceChange) -> bytearray:
    """The lines of a set operation, as `parse_set` reads them. The caller wipes the result."""
    text = TextBuilder()
    if change.private_key is not None:
        text.secret("private_key", change.private_key)
    if change.listen_port is not None:
        text.line(f"listen_port={change.listen_port}")
    if change.fwmark is not None:
        text.line(f"fwmark={change.fwmark}")
    if change.replace_peers:
        text.line("replace_peers=true")
    for peer in change.peers:
        text.line(f"public_key={peer.public_key.hex()}")
        if peer.update_only:
            text.line("update_only=true")
        if peer.remove:
            text.line("remove=true")
        if peer.preshared_key is not None:
            text.secret("preshared_key", peer.preshared_key)
        if peer.endpoint is not None:
            text.line(f"endpoint={format_sock_addr(peer.endpoint)}")
        if peer.persistent_keepalive is not None:
            text.line(f"persistent_keepalive_interval={peer.persistent_keepalive}")
        if peer.replace_allowed_ips:
            text.line("replace_allowed_ips=true")
        for ip, cidr, remove in peer.allowed_ips:
            text.line(f"allowed_ip={'-' if remove else ''}{format_prefix((ip, cidr))}")
    return text.finish()


def format_get(status: DeviceStatus) -> bytearray:
    """The lines of the reply to a get operation, without the "errno=" line.

    The caller wipes the result, and must not append to it before: growing may leave a copy of the keys behind.
    """
    return _at_once(format_get_steps(status))


def format_get_steps(status: DeviceStatus) -> Generator[None, None, bytearray]:
    """`format_get` in steps; the keys are read in the last."""
    text = TextBuilder()
    since = 0
    if status.private_key is not None and any(memoryview(status.private_key)):
        text.secret("private_key", status.private_key)
    if status.listen_port:
        text.line(f"listen_port={status.listen_port}")
    if status.fwmark:
        text.line(f"fwmark={status.fwmark}")
    for peer in status.peers:
        text.line(f"public_key={peer.public_key.hex()}")
        text.secret("preshared_key", peer.preshared_key)
        text.line("protocol_version=1")
        if peer.endpoint is not None:
            text.line(f"endpoint={format_sock_addr(peer.endpoint)}")
        seconds, nanoseconds = divmod(peer.last_handshake_ns, _NS)
        text.line(
            f"last_handshake_time_sec={seconds}\n"
            f"last_handshake_time_nsec={nanoseconds}\n"
            f"tx_bytes={peer.tx_bytes}\n"
            f"rx_bytes={peer.rx_bytes}\n"
            f"persistent_keepalive_interval={peer.persistent_keepalive}"
        )
        for prefix in peer.allowed_ips:
            text.line(f"allowed_ip={format_prefix(prefix)}")
        since += _LINES_A_PEER + len(peer.allowed_ips)
        if since >= LINES_A_STEP:
            since = 0
            yield
    return text.finish()


def parse_get(reply: "ReadableBuffer") -> DeviceStatus:
    """Read the reply to a get operation, up to the blank line or the end; lines it doesn't know are skipped.

    UapiError: the device answered with an errno (`.errno` is it), or the reply can't be read (EPROTO).
    """
    status = DeviceStatus()
    peer: PeerStatus | None = None
    for number, (name, value) in enumerate(lines(reply), 1):
        try:
            if value is None:
                raise ConfigError(_NOT_A_LINE)
            if name == b"errno":
                _raise_errno(value)
            elif name == b"public_key":
                peer = PeerStatus(key_value(value))
                status.peers.append(peer)
            elif peer is not None:
                _read_peer_status(peer, name, value)
            else:
                _read_device_status(status, name, value)
        except UapiError:
            raise
        except ConfigError as error:
            raise UapiError(f"line {number}: {error}", errno=EPROTO) from None
    return status


def format_errno(errno: int) -> bytes:
    """The end of a reply: the line with the errno, 0 or positive, and the blank line. The wire has its negative."""
    return b"errno=%d\n\n" % -abs(errno)


def _at_once(steps: Generator[None, None, _Result]) -> _Result:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _Result = end.value
            return result


def _read_set(request: "ReadableBuffer", change: DeviceChange) -> Generator[None, None, UapiError | None]:
    """Fill `change`. An error is returned: raised here, its traceback would hold this frame's views of the request."""
    peer: PeerChange | None = None
    for number, (name, value) in enumerate(lines(request), 1):
        if number % LINES_A_STEP == 0:
            yield
        try:
            if value is None:
                return UapiError(f"line {number}: {_NOT_A_LINE}", errno=EPROTO)
            if name == b"allowed_ip" and peer is not None:
                peer.allowed_ips.append(_allowed_ip(value))
            elif name == b"public_key":
                peer = PeerChange(key_value(value))
                change.peers.append(peer)
            elif peer is not None:
                _PEER_SETTERS.get(name, _unknown_peer_key)(peer, value)
            else:
                _DEVICE_SETTERS.get(name, _unknown_device_key)(change, value)
        except ConfigError as error:
            # A name that is none of ours may be a key that slipped into the wrong place.
            what = f"{name.decode('ascii')}: " if name in _SET_NAMES else ""
            return UapiError(f"line {number}: {what}{error}", errno=EINVAL)
    return None


def _true(value: memoryview) -> bool:
    if bytes(value) != b"true":
        raise ConfigError('expected "true"')
    return True


def _allowed_ip(value: memoryview) -> AllowedIpChange:
    text = ascii_text(value)
    if text.startswith("-"):
        ip, cidr = parse_prefix(text[1:])
        return AllowedIpChange(ip, cidr, True)
    ip, cidr = parse_prefix(text)
    return AllowedIpChange(ip, cidr)


def _set_private_key(change: DeviceChange, value: memoryview) -> None:
    change.private_key = secret_value(value)


def _set_listen_port(change: DeviceChange, value: memoryview) -> None:
    change.listen_port = number_value(value, MAX_PORT)


def _set_fwmark(change: DeviceChange, value: memoryview) -> None:
    change.fwmark = number_value(value, _MAX_U32)


def _set_replace_peers(change: DeviceChange, value: memoryview) -> None:
    change.replace_peers = _true(value)


def _set_remove(peer: PeerChange, value: memoryview) -> None:
    peer.remove = _true(value)


def _set_update_only(peer: PeerChange, value: memoryview) -> None:
    peer.update_only = _true(value)


def _set_preshared_key(peer: PeerChange, value: memoryview) -> None:
    peer.preshared_key = secret_value(value)


def _set_endpoint(peer: PeerChange, value: memoryview) -> None:
    peer.endpoint = parse_sock_addr(ascii_text(value))


def _set_persistent_keepalive(peer: PeerChange, value: memoryview) -> None:
    peer.persistent_keepalive = number_value(value, MAX_KEEPALIVE)


def _set_replace_allowed_ips(peer: PeerChange, value: memoryview) -> None:
    # It replaces whatever the peer has by then, this request's earlier entries included.
    peer.replace_allowed_ips = _true(value)
    peer.allowed_ips.clear()


def _check_protocol_version(_peer: PeerChange, value: memoryview) -> None:
    if bytes(value) != b"1":
        raise ConfigError("expected 1")


def _unknown_device_key(_change: DeviceChange, _value: memoryview) -> None:
    raise ConfigError("a device has no such key")


def _unknown_peer_key(_peer: PeerChange, _value: memoryview) -> None:
    raise ConfigError("a peer has no such key")


_DEVICE_SETTERS: Final[dict[bytes, Callable[[DeviceChange, memoryview], None]]] = {
    b"private_key": _set_private_key,
    b"listen_port": _set_listen_port,
    b"fwmark": _set_fwmark,
    b"replace_peers": _set_replace_peers,
}

_PEER_SETTERS: Final[dict[bytes, Callable[[PeerChange, memoryview], None]]] = {
    b"remove": _set_remove,
    b"update_only": _set_update_only,
    b"preshared_key": _set_preshared_key,
    b"endpoint": _set_endpoint,
    b"persistent_keepalive_interval": _set_persistent_keepalive,
    b"replace_allowed_ips": _set_replace_allowed_ips,
    b"protocol_version": _check_protocol_version,
}


_SET_NAMES: Final = _DEVICE_SETTERS.keys() | _PEER_SETTERS.keys() | {b"public_key", b"allowed_ip"}


def _read_device_status(status: DeviceStatus, name: bytes, value: memoryview) -> None:
    match name:
        case b"private_key":
            status.private_key = secret_value(value)
        case b"listen_port":
            status.listen_port = number_value(value, MAX_PORT)
        case b"fwmark":
            status.fwmark = number_value(value, _MAX_U32)


def _read_peer_status(peer: PeerStatus, name: bytes, value: memoryview) -> None:
    match name:
        case b"preshared_key":
            peer.preshared_key = secret_value(value)
        case b"endpoint":
            peer.endpoint = parse_sock_addr(ascii_text(value))
        case b"last_handshake_time_sec":
            peer.last_handshake_ns += number_value(value, _MAX_U64) * _NS
        case b"last_handshake_time_nsec":
            peer.last_handshake_ns += number_value(value, _NS - 1)
        case b"tx_bytes":
            peer.tx_bytes = number_value(value, _MAX_U64)
        case b"rx_bytes":
            peer.rx_bytes = number_value(value, _MAX_U64)
        case b"persistent_keepalive_interval":
            peer.persistent_keepalive = number_value(value, MAX_KEEPALIVE)
        case b"allowed_ip":
            peer.allowed_ips.append(parse_prefix(ascii_text(value)))


def _raise_errno(value: memoryview) -> None:
    text = ascii_text(value)
    errno = parse_number(text.removeprefix("-"), _MAX_U32)
    if errno:
        raise UapiError(f"the device answered errno {errno}", errno=errno)
