"""What pywg reads of a wg-quick file beyond wg-quick: comments that begin with `# pywg.`, which others pass over.

    # pywg.Companion = on                        in [Interface]: the names of endpoints are resolved again and again
    # pywg.Failback = SECONDS                    in [Interface]: how often an earlier endpoint is tried again; or off
    # pywg.Hook = EVENT,EVENT PROGRAM            in [Interface], several: PROGRAM runs on these events, or on all
    # pywg.HookUser = USER                       in [Interface]: as whom
    # pywg.Endpoints = HOST:PORT, HOST:PORT      in [Peer]: tried in turn after Endpoint

The prefix keeps them apart from settings that are commented out. Each is on a line of its own.
"""

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pywg.config import quick_lines
from pywg.config.addresses import split_host_port
from pywg.config.quick_lines import SPACE, squeeze
from pywg.config.uapi_events import NAMES as EVENTS
from pywg.errors import ConfigError, WgQuickError

HostPort = tuple[str, int]

EVERY_EVENT: Final = "all"
MOST_ENDPOINTS: Final = 16
"""Further endpoints of a peer."""
MOST_HOOKS: Final = 64
_EXTENSION: Final = re.compile(r"#+\s*pywg\.(\w*)\s*(=?)(.*)", re.S)
LEAST_FAILBACK_S: Final = 10
MOST_FAILBACK_S: Final = 86400
_NAMES: Final = ("companion", "failback", "hook", "hookuser", "endpoints")
_WORD: Final = re.compile(r"[a-z_]{1,20}")
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?")


class HookSetting(NamedTuple):
    """A program, and the events on which it runs."""

    events: tuple[str, ...]
    program: str
    """an absolute path"""


@dataclass
class Extensions:
    """Of a whole file."""

    companion: bool = False
    failback_s: int = 0
    """0 for off"""
    hooks: list[HookSetting] = field(default_factory=list)
    hook_user: str = ""
    endpoints: dict[int, list[HostPort]] = field(default_factory=dict)
    """by the peer's position in the file"""

    @property
    def wanted(self) -> bool:
        """Whether any of it needs the companion."""
        return self.companion or bool(self.hooks) or bool(self.endpoints)


def is_extension(comment: str) -> bool:
    """Whether a comment, from its "#" on, is one of these."""
    return _EXTENSION.fullmatch(comment.strip(SPACE)) is not None


def read_extensions(text: str, file: str) -> Extensions:
    """Those of a file that can be read. Raises WgQuickError for the first that can't."""
    found = Extensions()
    peer = -2
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        body, mark, after = line.partition("#")
        if section := quick_lines.section_of(body.rstrip(SPACE)):
            peer = -1 if section == "interface" else max(peer, -1) + 1
        match = _EXTENSION.fullmatch((mark + after).strip(SPACE))
        if match is None or body.strip(SPACE):
            continue
        try:
            _take(found, match[1].lower(), match[3].strip(SPACE) if match[2] else None, peer)
        except ConfigError as error:
            name = match[1] if match[1].lower() in _NAMES else ""  # what is none may be a key
            raise WgQuickError(f"pywg.{name}: {error}", file=file, line=number) from None
    return found


def _take(found: Extensions, name: str, value: str | None, peer: int) -> None:
    if name not in _NAMES:
        raise ConfigError(
            "there is no such setting: Companion, Failback, Hook and HookUser in [Interface], Endpoints in [Peer]"
        )
    if value is None:
        raise ConfigError('expected "="')
    if (name == "endpoints") != (peer >= 0):
        raise ConfigError(f"belongs into {'[Peer]' if name == 'endpoints' else '[Interface]'}")
    match name:
        case "companion":
            if value.lower() not in ("on", "off"):
                raise ConfigError('expected "on" or "off"')
            found.companion = value.lower() == "on"
        case "failback":
            found.failback_s = 0 if value.lower() == "off" else _seconds(value)
        case "hook":
            found.hooks.append(_hook(value))
            if len(found.hooks) > MOST_HOOKS:
                raise ConfigError(f"more than {MOST_HOOKS} of them")
        case "hookuser":
            if not _USER.fullmatch(value):
                raise ConfigError("expected USER or USER:GROUP")
            found.hook_user = value
        case _:
            endpoints = found.endpoints.setdefault(peer, [])
            endpoints += [split_host_port(squeeze(one)) for one in value.split(",")]
            if len(endpoints) > MOST_ENDPOINTS:
                raise ConfigError(f"more than {MOST_ENDPOINTS} of them")


def _seconds(value: str) -> int:
    number = int(value) if value.isascii() and value.isdigit() and len(value) < 9 else 0
    if not LEAST_FAILBACK_S <= number <= MOST_FAILBACK_S:
        raise ConfigError(f"expected {LEAST_FAILBACK_S} to {MOST_FAILBACK_S} seconds, or off")
    return number


def _hook(value: str) -> HookSetting:
    words, _, program = value.partition(" ")
    program = program.strip(SPACE)
    if not program.startswith("/") or not program.isprintable():
        raise ConfigError("expected EVENT,EVENT PROGRAM: events, or all, and the program's path from the root on")
    events = tuple(word for word in words.split(",") if word)
    if unknown := [word for word in events if word not in (*EVENTS, EVERY_EVENT)]:
        which = f" {unknown[0]!a}" if _WORD.fullmatch(unknown[0]) else ""
        raise ConfigError(f"there is no event{which}: {', '.join(EVENTS)}")
    if not events:
        raise ConfigError("expected at least one event, or all")
    return HookSetting(events, program)
