"""A wg-quick file changed to say something else, with its comments, its order and its spelling kept."""

from dataclasses import replace
from typing import Final, NamedTuple

from pywg.config.quick_lines import SPACE, body_of, section_of
from pywg.config.quick_values import hooks_of
from pywg.config.wg_quick import (
    InterfaceSection,
    PeerSection,
    WgQuickConfig,
    format,
    format_peer,
    read,
)

_OF_INTERFACE: Final = {
    "Address": "addresses",
    "DNS": "dns",
    "MTU": "mtu",
    "Table": "table",
    "PrivateKey": "private_key",
    "ListenPort": "listen_port",
    "FwMark": "fwmark",
    "SaveConfig": "save_config",
    "PreUp": "pre_up",
    "PostUp": "post_up",
    "PreDown": "pre_down",
    "PostDown": "post_down",
}
_OF_PEER: Final = {
    "PresharedKey": "preshared_key",
    "AllowedIPs": "allowed_ips",
    "Endpoint": "endpoint",
    "PersistentKeepalive": "persistent_keepalive",
}
assert set(hooks_of(InterfaceSection())) <= set(_OF_INTERFACE)


class _Section(NamedTuple):
    """Lines start..end of the text; the comments directly above the section's own line are its own."""

    start: int
    header: int
    end: int
    peer: int
    """-1: [Interface]"""


def edited(text: str, wanted: WgQuickConfig) -> str:
    """The text, changed where it says something else than `wanted`. Peers that are not wanted go with their comments.

    Their order, and that of allowed IPs, is the text's. ConfigError: `wanted` can't be written.
    """
    plain = format(wanted)
    changed = _Edit(text, wanted).result()
    reading = read(changed, "")
    return changed if not reading.errors and _same(reading.config, wanted) else plain


def _same(one: WgQuickConfig, other: WgQuickConfig) -> bool:
    return _comparable(one) == _comparable(other)


def _comparable(config: WgQuickConfig) -> WgQuickConfig:
    """Without what wg doesn't tell apart: off from not given, one order from another."""
    peers = [
        replace(peer, allowed_ips=sorted(set(peer.allowed_ips)), persistent_keepalive=peer.persistent_keepalive or None)
        for peer in sorted(config.peers, key=lambda peer: peer.public_key)
    ]
    interface = replace(
        config.interface, listen_port=config.interface.listen_port or None, fwmark=config.interface.fwmark or None
    )
    return WgQuickConfig(interface, peers)


class _Edit:
    def __init__(self, text: str, wanted: WgQuickConfig) -> None:
        reading = read(text, "")
        self._old = reading.config
        self._wanted = wanted
        self._lines = text.split("\n")
        self._end = "\r" if self._lines[0].endswith("\r") else ""
        self._settings = {setting.line - 1: setting for setting in reading.settings}
        self._sections = list(_sections(self._lines))
        self._replaced: set[tuple[int, str]] = set()

    def result(self) -> str:
        """The text."""
        peers = {peer.public_key: peer for peer in self._wanted.peers}
        first = self._sections[0].start if self._sections else len(self._lines)
        out = self._lines[:first]
        changes = self._of_interface()
        if changes and all(section.peer >= 0 for section in self._sections):
            lines = [line for new in changes.values() for line in new]
            out += self._ended(["[Interface]", *lines, ""])
            changes = {}
        for section in self._sections:
            if section.peer < 0:
                out += self._rewritten(section, changes)
                continue
            old = self._old.peers[section.peer]
            if (new := peers.pop(old.public_key, None)) is not None:
                out += self._rewritten(section, self._of_peer(old, new))
            else:
                while len(out) > 1 and not out[-1].strip(SPACE):
                    out.pop()
                out.append(self._end)
        for peer in peers.values():
            while out and not out[-1].strip(SPACE):
                out.pop()
            out += self._ended(["", "[Peer]", *format_peer(peer)])
        if out[-1].strip(SPACE):
            out.append("")
        return "\n".join(out)

    def _ended(self, lines: list[str]) -> list[str]:
        return [line + self._end for line in lines]

    def _of_interface(self) -> dict[str, list[str]]:
        old, new = _comparable(self._old).interface, _comparable(self._wanted).interface
        written = format(WgQuickConfig(replace(new, name=""))).splitlines()
        return _changes(old, new, _OF_INTERFACE, written)

    def _of_peer(self, old: PeerSection, new: PeerSection) -> dict[str, list[str]]:
        old, new = (_comparable(WgQuickConfig(peers=[peer])).peers[0] for peer in (old, new))
        return _changes(old, new, _OF_PEER, format_peer(new))

    def _rewritten(self, section: _Section, changes: dict[str, list[str]]) -> list[str]:
        """The section's lines: a changed setting stands where its first line is, a new one at the end."""
        lines: list[str] = []
        after = 0
        for index in range(section.start, section.end):
            line, setting = self._lines[index], self._settings.get(index)
            if setting is None or setting.name not in changes:
                lines.append(line)
            elif (section.peer, setting.name) not in self._replaced:
                self._replaced.add((section.peer, setting.name))
                lines += self._in_place_of(line, changes[setting.name])
            if index == section.header or setting is not None:
                after = len(lines)
        missing = [name for name in changes if (section.peer, name) not in self._replaced]
        if missing and (section.peer >= 0 or section == self._last_interface()):
            lines[after:after] = self._ended([line for name in missing for line in changes[name]])
            self._replaced |= {(section.peer, name) for name in missing}
        return lines

    def _last_interface(self) -> _Section:
        return [section for section in self._sections if section.peer < 0][-1]

    def _in_place_of(self, line: str, new: list[str]) -> list[str]:
        """The first of the new lines keeps the comment of the old one."""
        body = body_of(line)
        comment = line[len(body) :] if "#" in line else self._end
        return [new[0] + comment, *self._ended(new[1:])] if new else []


def _sections(lines: list[str]) -> "list[_Section]":
    headers = [(index, kind) for index, line in enumerate(lines) if (kind := section_of(body_of(_bare(line, index))))]
    starts = []
    for header, _ in headers:
        start = header
        while start > 0 and not body_of(lines[start - 1]) and "#" in lines[start - 1]:
            start -= 1
        starts.append(start)
    peer = -1
    found = []
    for (header, kind), start, end in zip(headers, starts, [*starts[1:], len(lines)], strict=False):
        peer += kind == "peer"
        found.append(_Section(start, header, end, peer if kind == "peer" else -1))
    return found


def _bare(line: str, index: int) -> str:
    return line if index else line.removeprefix("\ufeff")


def _changes(
    old: InterfaceSection | PeerSection, new: InterfaceSection | PeerSection, names: dict[str, str], written: list[str]
) -> dict[str, list[str]]:
    """By setting: its new lines, for those that differ."""
    return {
        name: [line for line in written if line.startswith(f"{name} = ")]
        for name, attribute in names.items()
        if getattr(old, attribute) != getattr(new, attribute)
    }
