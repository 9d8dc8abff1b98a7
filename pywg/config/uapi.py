"""The text of WireGuard's cross-platform configuration protocol, to and from the model.

Source: https://www.wireguard.com/xplatform/, and what wireguard-go answers where that page is silent. Framing (the line
"set=1" or "get=1" before, the blank line after, the "errno=" line of a reply) belongs to the socket's owner.

Requests and replies carry private keys: no error repeats any text of a request.

A function whose name ends in `_steps` is a generator that pauses now and then and returns its result at the end:
10,000 peers take a third of a second, in which an event loop has other things to do.
"""

from collections.abc import Callable, Generator
from errno import EINVAL, EPROTO
from typing import TYPE_CHECKING, Final, TypeAlias

from pywg.config.addresses import MAX_PORT, format_prefix, format_sock_addr, parse_number, parse_prefix, parse_sock_addr
from pywg.config.model import (
    AllowedIpChange,
    DeviceChange,
    DeviceStatus,
    PeerChange,
    PeerStatus,
    PeerTrouble,
    SockAddr,
)
from pywg.config.uapi_text import TextBuilder, ascii_text, key_value, lines, number_value, secret_value
from pywg.errors import ConfigError, UapiError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_Reader: TypeAlias = Callable[[memoryview], object]

MAX_KEEPALIVE: Final = 65535
LINES_A_STEP: Final = 512
"""Between two pauses: about a millisecond."""
_MAX_U32: Final = 2**32 - 1
_MAX_U64: Final = 2**64 - 1
_NS: Final = 1_000_000_000
_LINES_A_PEER: Final = 9
_NOT_A_LINE: Final = 'expected "key=value"'


def parse_set_steps(request: "ReadableBuffer") -> Generator[None, None, DeviceChange]:
    """Read a set operation: the lines after "set=1", up to the blank line or the end. The request stays until then.

    UapiError names the line, 1 being the one after "set=1": EPROTO for a line without "=", EINVAL for everything else.
    Neither it nor the result keeps a reference into the request, which may be wiped or resized at once. Secret keys
    are Secrets, and gone with the result, or with the error.
    """
    change = DeviceChange()
    error = yield from _read_set(request, change)
    if error is not None:
        try:
            raise error
        finally:
            del error  # with its traceback it would hold this frame, and so the keys, until the next garbage collection
    return change


def format_set(change: DeviceChange) -> bytearray:
    """The lines of a set operation, as `parse_set_steps` reads them. The caller wipes the result."""
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
        if peer.clear_endpoint:
            text.line("clear_endpoint=true")
        if peer.endpoint is not None:
            text.line(f"endpoint={format_sock_addr(peer.endpoint)}")
        if peer.probe_endpoint is not None:
            text.line(f"probe_endpoint={format_sock_addr(peer.probe_endpoint)}")
        if peer.persistent_keepalive is not None:
            text.line(f"persistent_keepalive_interval={peer.persistent_keepalive}")
        if peer.replace_allowed_ips:
            text.line("replace_allowed_ips=true")
        for ip, cidr, remove in peer.allowed_ips:
            text.line(f"allowed_ip={'-' if remove else ''}{format_prefix((ip, cidr))}")
    return text.finish()


def format_get_steps(status: DeviceStatus, *, keys: bool = True) -> Generator[None, None, bytearray]:
    """The lines of the reply to a get operation, without the "errno=" line. The keys are read in the last step.

    Without `keys` there is no line of a private or a preshared key, and none of them is read.

    The caller wipes the result, and must not append to it before: growing may leave a copy of the keys behind.
    """
    text = TextBuilder()
    since = 0
    if keys and status.private_key is not None and any(memoryview(status.private_key)):
        text.secret("private_key", status.private_key)
    if status.listen_port:
        text.line(f"listen_port={status.listen_port}")
    if status.fwmark:
        text.line(f"fwmark={status.fwmark}")
    for peer in status.peers:
        text.line(f"public_key={peer.public_key.hex()}")
        if keys:
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

    def read(name: bytes, value: memoryview) -> None:
        nonlocal peer
        if name == b"public_key":
            peer = PeerStatus(key_value(value))
            status.peers.append(peer)
        else:
            _read_status(peer or status, name, value)

    _read_reply(reply, read)
    return status


def format_troubles_steps(troubles: list[PeerTrouble]) -> Generator[None, None, bytearray]:
    """The lines of the reply to `peers=1`, without the "errno=" line: four for each peer that is in trouble."""
    text = TextBuilder()
    for number, peer in enumerate(troubles, 1):
        text.line(
            f"public_key={peer.public_key.hex()}\n"
            f"initiations_unanswered={peer.initiations_unanswered}\n"
            f"unanswered_seconds={peer.unanswered_seconds}\n"
            f"trouble={peer.trouble.encode('ascii', 'backslashreplace').decode()}"
        )
        if number % (LINES_A_STEP // 4) == 0:
            yield
    return text.finish()


def parse_troubles(reply: "ReadableBuffer") -> list[PeerTrouble]:
    """Read the reply to `peers=1`; lines it doesn't know are skipped. UapiError as of `parse_get`."""
    found: list[PeerTrouble] = []

    def read(name: bytes, value: memoryview) -> None:
        if name == b"public_key":
            found.append(PeerTrouble(key_value(value), 0, 0, ""))
        elif found and name == b"trouble":
            found[-1] = found[-1]._replace(trouble=ascii_text(value))
        elif found and name == b"initiations_unanswered":
            found[-1] = found[-1]._replace(initiations_unanswered=number_value(value, _MAX_U64))
        elif found and name == b"unanswered_seconds":
            found[-1] = found[-1]._replace(unanswered_seconds=number_value(value, _MAX_U64))

    _read_reply(reply, read)
    return found


def _read_reply(reply: "ReadableBuffer", read: Callable[[bytes, memoryview], None]) -> None:
    """Has `read` read each line but that of the errno. Raises UapiError."""
    for number, (name, value) in enumerate(lines(reply), 1):
        try:
            if value is None:
                raise ConfigError(_NOT_A_LINE)
            if name == b"errno":
                _raise_errno(value)
            else:
                read(name, value)
        except UapiError:
            raise
        except ConfigError as error:
            raise UapiError(f"line {number}: {error}", errno=EPROTO) from None


def format_errno(errno: int) -> bytes:
    """The end of a reply: the line with the errno, 0 or positive, and the blank line. The wire has its negative."""
    return b"errno=%d\n\n" % -abs(errno)


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
            else:
                _change(peer or change, name, value)
                if name == b"replace_allowed_ips" and peer is not None:
                    # It replaces whatever the peer has by then, this request's earlier entries included.
                    peer.allowed_ips.clear()
                if name == b"clear_endpoint" and peer is not None:
                    peer.endpoint = None  # likewise
        except ConfigError as error:
            # A name that is none of ours may be a key that slipped into the wrong place.
            what = f"{name.decode('ascii')}: " if name in _SET_NAMES else ""
            return UapiError(f"line {number}: {what}{error}", errno=EINVAL)
    return None


def _true(value: memoryview) -> bool:
    if bytes(value) != b"true":
        raise ConfigError('expected "true"')
    return True


def _one(value: memoryview) -> None:
    if bytes(value) != b"1":
        raise ConfigError("expected 1")


def _endpoint(value: memoryview) -> SockAddr:
    return parse_sock_addr(ascii_text(value))


def _told_endpoint(value: memoryview) -> SockAddr:
    """As `_endpoint`. A zone is a name where the daemon is, which may be another network namespace: unknown is none."""
    try:
        return _endpoint(value)
    except ConfigError:
        host, percent, rest = ascii_text(value).partition("%")
        _, bracket, port = rest.partition("]:")
        if not (percent and bracket):
            raise
        return parse_sock_addr(f"{host}]:{port}")


def _number(most: int) -> _Reader:
    return lambda value: number_value(value, most)


def _allowed_ip(value: memoryview) -> AllowedIpChange:
    text = ascii_text(value)
    remove = text.startswith("-")
    ip, cidr = parse_prefix(text[1:] if remove else text)
    return AllowedIpChange(ip, cidr, remove)


_DEVICE_KEYS: Final[dict[bytes, tuple[str, _Reader]]] = {
    b"private_key": ("private_key", secret_value),
    b"listen_port": ("listen_port", _number(MAX_PORT)),
    b"fwmark": ("fwmark", _number(_MAX_U32)),
    b"replace_peers": ("replace_peers", _true),
}
"""What a line of a device changes: the attribute, and the reader of its value. Those of a peer likewise."""
_PEER_KEYS: Final[dict[bytes, tuple[str, _Reader]]] = {
    b"remove": ("remove", _true),
    b"update_only": ("update_only", _true),
    b"preshared_key": ("preshared_key", secret_value),
    b"clear_endpoint": ("clear_endpoint", _true),
    b"endpoint": ("endpoint", _endpoint),
    b"probe_endpoint": ("probe_endpoint", _endpoint),
    b"persistent_keepalive_interval": ("persistent_keepalive", _number(MAX_KEEPALIVE)),
    b"replace_allowed_ips": ("replace_allowed_ips", _true),
    b"protocol_version": ("", _one),  # nothing to keep
}
_SET_NAMES: Final = _DEVICE_KEYS.keys() | _PEER_KEYS.keys() | {b"public_key", b"allowed_ip"}
_DEVICE_STATUS: Final = {name: _DEVICE_KEYS[name] for name in (b"private_key", b"listen_port", b"fwmark")}
_PEER_STATUS: Final[dict[bytes, tuple[str, _Reader]]] = {
    **{name: _PEER_KEYS[name] for name in (b"preshared_key", b"persistent_keepalive_interval")},
    b"endpoint": ("endpoint", _told_endpoint),
    b"tx_bytes": ("tx_bytes", _number(_MAX_U64)),
    b"rx_bytes": ("rx_bytes", _number(_MAX_U64)),
}


def _change(change: DeviceChange | PeerChange, name: bytes, value: memoryview) -> None:
    whose, keys = ("a device", _DEVICE_KEYS) if isinstance(change, DeviceChange) else ("a peer", _PEER_KEYS)
    if name not in keys:
        raise ConfigError(f"{whose} has no such key")
    attribute, read = keys[name]
    read_value = read(value)
    if attribute:
        setattr(change, attribute, read_value)


def _read_status(status: DeviceStatus | PeerStatus, name: bytes, value: memoryview) -> None:
    keys = _DEVICE_STATUS if isinstance(status, DeviceStatus) else _PEER_STATUS
    if name in keys:
        attribute, read = keys[name]
        setattr(status, attribute, read(value))
    elif isinstance(status, PeerStatus):
        match name:
            case b"last_handshake_time_sec":
                status.last_handshake_ns += number_value(value, _MAX_U64) * _NS
            case b"last_handshake_time_nsec":
                status.last_handshake_ns += number_value(value, _NS - 1)
            case b"allowed_ip":
                status.allowed_ips.append(parse_prefix(ascii_text(value)))


def _raise_errno(value: memoryview) -> None:
    text = ascii_text(value)
    errno = parse_number(text.removeprefix("-"), _MAX_U32)
    if errno:
        raise UapiError(f"the device answered errno {errno}", errno=errno)
