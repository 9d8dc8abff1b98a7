"""The output of `wg show`, byte for byte: for people with its colours, and its columns for programs.

As in wg's show.c: peers are sorted by their last handshake for people, and in the device's order in columns.
"""

import time
from base64 import b64encode
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pywg.config.addresses import format_prefix, format_sock_addr
from pywg.config.model import DeviceStatus, PeerStatus
from pywg.manage.public_key import public_key_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_RESET, _BOLD = "\x1b[0m", "\x1b[1m"
_RED, _GREEN, _YELLOW, _CYAN = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m"
_NS: Final = 1_000_000_000
_UNITS: Final = (("year", 365 * 86400), ("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
_NONE, HIDDEN = "(none)", "(hidden)"


class View:
    """A device and who asks: `keys` whether its keys are told, `bare` whether they are to be shown."""

    def __init__(self, name: str, status: DeviceStatus, *, keys: bool, bare: bool = True) -> None:
        self.name = name
        self.status = status
        self._keys = keys
        self._bare = bare
        self.public_key = own_public_key(status)

    def private_key(self) -> str:
        """In base64; "(none)", or "(hidden)" where it isn't told or isn't to be shown."""
        return self._secret(self.status.private_key)

    def preshared_key(self, peer: PeerStatus) -> str:
        """As `private_key`."""
        return self._secret(peer.preshared_key)

    def has_preshared_key(self, peer: PeerStatus) -> bool:
        """Whether there is one; false where keys aren't told."""
        return self._keys and is_set(peer.preshared_key)

    def _secret(self, key: "ReadableBuffer | None") -> str:
        if not self._keys:
            return HIDDEN
        if not is_set(key):
            return _NONE
        return _base64(key or b"") if self._bare else HIDDEN


def is_set(key: "ReadableBuffer | None") -> bool:
    """Whether a key is one, and not all zeros."""
    return key is not None and any(memoryview(key).cast("B"))


def own_public_key(status: DeviceStatus) -> bytes | None:
    """The public key that belongs to the private key; None where there is none, or it isn't told."""
    private = status.private_key
    if private is None or not is_set(private):
        return None
    return public_key_of(private)


def pretty(view: View, *, color: bool, now: Callable[[], float] = time.time) -> str:
    """What `wg show IFACE` prints."""
    status = view.status
    lines = [f"{_RESET}{_GREEN}{_BOLD}interface{_RESET}: {_GREEN}{view.name}{_RESET}"]
    if view.public_key is not None:
        lines += [_field("public key", _base64(view.public_key)), _field("private key", view.private_key())]
    if status.listen_port:
        lines.append(_field("listening port", str(status.listen_port)))
    if status.fwmark:
        lines.append(_field("fwmark", f"{status.fwmark:#x}"))
    for peer in sorted(status.peers, key=lambda peer: -peer.last_handshake_ns):
        lines += ["", *_peer(view, peer, now)]
    text = "\n".join(lines) + "\n"
    return text if color else _without_colors(text)


def columns(view: View, what: str, *, named: bool) -> str:
    """What `wg show IFACE WHAT` prints, WHAT one of COLUMNS; `named`: each line begins with the interface's name."""
    name = f"{view.name}\t" if named else ""
    return "".join(f"{name}{line}\n" for line in COLUMNS[what](view))


def _peer(view: View, peer: PeerStatus, now: Callable[[], float]) -> list[str]:
    lines = [f"{_YELLOW}{_BOLD}peer{_RESET}: {_YELLOW}{_base64(peer.public_key)}{_RESET}"]
    if view.has_preshared_key(peer):
        lines.append(_field("preshared key", view.preshared_key(peer)))
    if peer.endpoint is not None:
        lines.append(_field("endpoint", format_sock_addr(peer.endpoint)))
    allowed = ", ".join(format_prefix(prefix).replace("/", f"{_CYAN}/{_RESET}") for prefix in peer.allowed_ips)
    lines.append(_field("allowed ips", allowed or _NONE))
    if seconds := peer.last_handshake_ns // _NS:
        lines.append(_field("latest handshake", _ago(seconds, int(now()))))
    if peer.rx_bytes or peer.tx_bytes:
        lines.append(_field("transfer", f"{_bytes(peer.rx_bytes)} received, {_bytes(peer.tx_bytes)} sent"))
    if peer.persistent_keepalive:
        lines.append(_field("persistent keepalive", f"every {_words(peer.persistent_keepalive)}"))
    return lines


def _field(name: str, value: str) -> str:
    return f"  {_BOLD}{name}{_RESET}: {value}"


def _ago(then: int, now: int) -> str:
    if now == then:
        return "Now"
    if now < then:
        return f"({_RED}System clock wound backward; connection problems may ensue.{_RESET})"
    return f"{_words(now - then)} ago"


def _words(left: int) -> str:
    words = []
    for unit, seconds in _UNITS:
        count, left = divmod(left, seconds)
        if count:
            words.append(f"{count} {_CYAN}{unit}{'' if count == 1 else 's'}{_RESET}")
    return ", ".join(words)


def _bytes(count: int) -> str:
    if count < 1024:
        return f"{count} {_CYAN}B{_RESET}"
    unit = min((count.bit_length() - 1) // 10, 4)
    return f"{count / (1 << (10 * unit)):.2f} {_CYAN}{' KMGT'[unit]}iB{_RESET}"


def _without_colors(text: str) -> str:
    for code in (_RESET, _BOLD, _RED, _GREEN, _YELLOW, _CYAN):
        text = text.replace(code, "")
    return text


def _base64(key: "ReadableBuffer") -> str:
    return b64encode(key).decode()


def _key(peer: PeerStatus) -> str:
    return _base64(peer.public_key)


def _public_key(view: View) -> str:
    return _NONE if view.public_key is None else _base64(view.public_key)


def _fwmark(view: View) -> str:
    return f"{view.status.fwmark:#x}" if view.status.fwmark else "off"


def _endpoint(peer: PeerStatus) -> str:
    return _NONE if peer.endpoint is None else format_sock_addr(peer.endpoint)


def _allowed(peer: PeerStatus, separator: str) -> str:
    return separator.join(map(format_prefix, peer.allowed_ips)) or _NONE


def _keepalive(peer: PeerStatus) -> str:
    return str(peer.persistent_keepalive or "off")


def _dump(view: View) -> list[str]:
    status = view.status
    lines = [f"{view.private_key()}\t{_public_key(view)}\t{status.listen_port}\t{_fwmark(view)}"]
    for peer in status.peers:
        fields = (
            *(_key(peer), view.preshared_key(peer), _endpoint(peer), _allowed(peer, ",")),
            *(str(peer.last_handshake_ns // _NS), str(peer.rx_bytes), str(peer.tx_bytes), _keepalive(peer)),
        )
        lines.append("\t".join(fields))
    return lines


def _each_peer(value: Callable[[PeerStatus], str]) -> Callable[[View], list[str]]:
    return lambda view: [f"{_key(peer)}\t{value(peer)}" for peer in view.status.peers]


COLUMNS: Final[dict[str, Callable[[View], list[str]]]] = {
    "public-key": lambda view: [_public_key(view)],
    "private-key": lambda view: [view.private_key()],
    "listen-port": lambda view: [str(view.status.listen_port)],
    "fwmark": lambda view: [_fwmark(view)],
    "peers": lambda view: [_key(peer) for peer in view.status.peers],
    "preshared-keys": lambda view: [f"{_key(peer)}\t{view.preshared_key(peer)}" for peer in view.status.peers],
    "endpoints": _each_peer(_endpoint),
    "allowed-ips": _each_peer(lambda peer: _allowed(peer, " ")),
    "latest-handshakes": _each_peer(lambda peer: str(peer.last_handshake_ns // _NS)),
    "transfer": _each_peer(lambda peer: f"{peer.rx_bytes}\t{peer.tx_bytes}"),
    "persistent-keepalive": _each_peer(_keepalive),
    "dump": _dump,
}
"""What `wg show IFACE` takes after the interface, and the lines of each."""
