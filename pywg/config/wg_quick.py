"""The configuration files of wg(8) and wg-quick(8), to and from data classes.

Read as those two do: names in any case, "#" starts a comment anywhere, space inside wg's own values is nothing, lists
in several lines add up, and of a single value the last one counts. A byte order mark at the start is nothing, too.
Host names are not resolved, and nothing is applied. The errors name file, line and column and what was expected there.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from pywg.config import quick_lines, quick_names
from pywg.config.addresses import format_prefix
from pywg.config.keys import format_key_base64
from pywg.config.model import Prefix
from pywg.config.quick_lines import SPACE, PlacedError, words
from pywg.config.quick_values import Setter, hooks_of, interface_setters, peer_setters
from pywg.errors import ConfigError, WgQuickError

HostPort: TypeAlias = tuple[str, int]
"""(name or IP address, UDP port)"""


@dataclass(slots=True)
class InterfaceSection:
    """[Interface]: this end. None means "not given"."""

    private_key: bytes | None = field(default=None, repr=False)
    listen_port: int | None = None
    fwmark: int | None = None
    """0 means off"""
    addresses: list[Prefix] = field(default_factory=list)
    """with host bits, as they are given to the interface"""
    dns: list[str] = field(default_factory=list)
    """servers' addresses and search domains, in the order given"""
    mtu: int | None = None
    table: str | None = None
    """the number or name of a routing table, or one of the words off and auto"""
    pre_up: list[str] = field(default_factory=list)
    post_up: list[str] = field(default_factory=list)
    pre_down: list[str] = field(default_factory=list)
    post_down: list[str] = field(default_factory=list)
    save_config: bool = False
    name: str = ""
    """what a comment calls it (pywg.config.quick_names), "" when none does"""


@dataclass(slots=True)
class PeerSection:
    """[Peer]: one other end. None means "not given"."""

    public_key: bytes
    preshared_key: bytes | None = field(default=None, repr=False)
    allowed_ips: list[Prefix] = field(default_factory=list)
    endpoint: HostPort | None = None
    persistent_keepalive: int | None = None
    """seconds; 0 means off"""
    name: str = ""
    """what a comment calls it (pywg.config.quick_names), "" when none does"""


@dataclass(slots=True)
class WgQuickConfig:
    """A whole file."""

    interface: InterfaceSection = field(default_factory=InterfaceSection)
    peers: list[PeerSection] = field(default_factory=list)


class Setting(NamedTuple):
    """One line `Name = value` of a file that could be read."""

    line: int
    column: int
    """of the value, 1-based as `line`"""
    peer: int
    """the index of its peer, -1 in [Interface]"""
    name: str
    """as the manual spells it"""
    value: str


class Reading(NamedTuple):
    """All that there is to say about a file. Without `errors`, `config` is what the file says."""

    config: WgQuickConfig
    errors: list[WgQuickError]
    """by line"""
    settings: list[Setting]
    """in the file's order"""
    peer_lines: list[int]
    """the line of each peer's [Peer]"""


def parse(text: str, file: str) -> WgQuickConfig:
    """Read a configuration file's text; `file` is its name for the errors.

    WgQuickError: the first line that can't be read, or the [Peer] line of a peer without PublicKey.
    """
    reader = _Reader(text, file)
    if reader.errors:
        raise reader.errors[0]
    return reader.config


def read(text: str, file: str) -> Reading:
    """Read a configuration file's text to its end, whatever is in it."""
    reader = _Reader(text, file)
    errors = sorted(reader.errors, key=lambda error: error.line)
    return Reading(reader.config, errors, reader.settings, reader.peer_lines)


def as_text(data: bytes) -> str:
    """The text of a file: bytes that are no UTF-8, as in comments of old, stay what they are in hooks."""
    return data.decode("utf-8", "surrogateescape")


def format(config: WgQuickConfig) -> str:
    """The text of a file that `parse` reads back as an equal configuration.

    ConfigError: a text of `config` (a command, a search domain, ...) would not be read back as it is.
    """
    interface = config.interface
    lines = ["[Interface]", *_name(interface.name)]
    lines += [f"Address = {format_prefix(address)}" for address in interface.addresses]
    lines += [f"DNS = {_word('DNS', server)}" for server in interface.dns]
    if interface.mtu is not None:
        lines.append(f"MTU = {interface.mtu}")
    if interface.table is not None:
        lines.append(f"Table = {_word('Table', interface.table)}")
    if interface.private_key is not None:
        lines.append(f"PrivateKey = {format_key_base64(interface.private_key)}")
    if interface.listen_port is not None:
        lines.append(f"ListenPort = {interface.listen_port}")
    if interface.fwmark is not None:
        lines.append(f"FwMark = {interface.fwmark:#x}" if interface.fwmark else "FwMark = off")
    for name, commands in hooks_of(interface).items():
        lines += [f"{name} = {_command(name, command)}" for command in commands]
    if interface.save_config:
        lines.append("SaveConfig = true")
    for peer in config.peers:
        lines += ["", "[Peer]", *format_peer(peer)]
    return "\n".join(lines) + "\n"


def format_peer(peer: PeerSection) -> list[str]:
    """The lines of one [Peer], without that one. ConfigError as `format`."""
    lines = [*_name(peer.name), f"PublicKey = {format_key_base64(peer.public_key)}"]
    if peer.preshared_key is not None:
        lines.append(f"PresharedKey = {format_key_base64(peer.preshared_key)}")
    if peer.allowed_ips:
        lines.append(f"AllowedIPs = {', '.join(map(format_prefix, peer.allowed_ips))}")
    if peer.endpoint is not None:
        host, port = peer.endpoint
        if "[" in host or "]" in host:
            raise ConfigError("Endpoint: a host has no brackets")
        host = _word("Endpoint", host)
        lines.append(f"Endpoint = [{host}]:{port}" if ":" in host else f"Endpoint = {host}:{port}")
    if peer.persistent_keepalive is not None:
        lines.append(f"PersistentKeepalive = {peer.persistent_keepalive or 'off'}")
    return lines


def _name(name: str) -> list[str]:
    if name != quick_names.clean(name):
        raise ConfigError(f"a name has at most {quick_names.MAX_NAME} printable characters, and is no key")
    return [f"# Name = {name}"] if name else []


class _Reader:
    """Reads a text to its end. In `errors` those of lines come first, then those of whole peers."""

    def __init__(self, text: str, file: str) -> None:
        self.config = WgQuickConfig()
        self.errors: list[WgQuickError] = []
        self.settings: list[Setting] = []
        self.peer_lines: list[int] = []
        self._wrong_keys: set[int] = set()
        """peers, by position, whose PublicKey is there and wrong, which is said of its line"""
        self._file = file
        self._setters: dict[str, Setter] = {}
        self._names = quick_names.Naming()
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            self._line(number, line)
        self._names.ended()
        self.config.interface.name = self._names.interface
        peers = zip(self.config.peers, self._names.peers, self.peer_lines, strict=True)
        for position, (peer, name, number) in enumerate(peers):
            peer.name = name
            if not peer.public_key and position not in self._wrong_keys:
                self._wrong("this [Peer] needs a PublicKey", number, "[Peer]", 0)

    def _line(self, number: int, line: str) -> None:
        before, mark, after = line.partition("#")
        body, comment = before.rstrip(SPACE), mark + after
        if section := quick_lines.section_of(body):
            self._begin(section, number, comment)
            return
        name = quick_lines.name_of(body)
        self._names.line(body, comment, key=name == "PublicKey")
        if not body:
            return
        value = body.partition("=")[2].lstrip(SPACE)
        offset = len(body) - len(value) if name in self._setters else len(body) - len(body.lstrip(SPACE))
        try:
            quick_lines.refuse_characters(body)
            if name not in self._setters:
                raise quick_lines.misplaced(body, self._setters)
            self._setters[name](value)
        except ConfigError as error:
            if isinstance(error, PlacedError):
                offset = error.offset + offset * error.in_value
            self._wrong(str(error), number, body, offset)
            if name == "PublicKey":
                self._wrong_keys.add(len(self.config.peers) - 1)
        else:
            peer = len(self.config.peers) - 1 if "PublicKey" in self._setters else -1
            self.settings.append(Setting(number, offset + 1, peer, name, value))

    def _begin(self, section: str, number: int, comment: str) -> None:
        self._names.begin(peer=section == "peer", comment=comment)
        if section == "interface":
            self._setters = interface_setters(self.config.interface)
            return
        peer = PeerSection(b"")
        self.config.peers.append(peer)
        self.peer_lines.append(number)
        self._setters = peer_setters(peer)

    def _wrong(self, message: str, number: int, body: str, offset: int) -> None:
        excerpt = quick_lines.excerpt(body, offset + 1)
        self.errors.append(WgQuickError(message, file=self._file, line=number, column=offset + 1, excerpt=excerpt))


def _word(name: str, text: str) -> str:
    if words(text) != [(text, 0)] or "#" in text or "\0" in text:
        raise ConfigError(f"{name} can't hold space, commas or '#'")
    return text


def _command(name: str, text: str) -> str:
    if not text or text != text.strip(SPACE) or any(character in text for character in "#\n\0"):
        raise ConfigError(f"{name} can't be empty, begin or end with space, or hold '#', NUL or a line's end")
    return text
