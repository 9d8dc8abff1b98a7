"""What `pywg monitor` prints of an event: a line for people, or an object for JSON, whose fields docs/json.md names."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from pywg.config import uapi_events as events
from pywg.config.keys import format_key_base64
from pywg.config.uapi_event_reader import Event
from pywg.constants import KEY_LEN
from pywg.manage.reasons import REASONS
from pywg.runtime.base.log import key_name

DISCONNECTED: Final = "disconnected"
"""An event of the client's own: the daemon answers no more."""
_NUMBERS: Final = frozenset({"initiations", "seconds", "handshake_age", "events"})


def event_object(interface: str, event: Event, names: Mapping[bytes, str]) -> dict[str, Any]:
    """One event for JSON. A fact of a newer daemon that isn't known here is in it as text."""
    found: dict[str, Any] = {"time": event.time, "interface": interface, "event": event.name}
    if event.name == events.DROPS:
        return found | {"drops": {name: _number(value) for name, value in event.facts.items()}}
    for key, value in event.facts.items():
        if key == "public_key":
            peer = _key(value)
            found |= {"peer": names.get(peer), "public_key": format_key_base64(peer) if peer else None}
        elif key == "changed":
            found[key] = [one for one in value.split(",") if one]
        else:
            found[key] = _number(value) if key in _NUMBERS else value
    return found


def event_line(interface: str, event: Event, names: Mapping[bytes, str]) -> str:
    """One event for people."""
    facts = event.facts
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.time))
    peer = _key(facts.get("public_key", ""))
    who = f"{names.get(peer) or key_name(peer)}: " if peer else ""
    say = _SAY.get(event.name)
    text = say(facts) if say else f"{event.name} {' '.join(f'{key}={value}' for key, value in facts.items())}".rstrip()
    return f"{at} {interface}: {who}{text}"


def _key(text: str) -> bytes:
    """b"" for what is none."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        return b""
    return key if len(key) == KEY_LEN else b""


def _number(value: str) -> int | str:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else value


def _place(facts: Mapping[str, str]) -> str:
    return facts.get("endpoint", "an unknown endpoint")


def _unanswered(facts: Mapping[str, str]) -> str:
    number = facts.get("initiations", "?")
    many = f"{number} initiations" if number != "1" else "an initiation"
    why = f": {facts['trouble']}" if "trouble" in facts else ""
    return f"no answer from {_place(facts)} to {many} in {facts.get('seconds', '?')} s{why}"


def _endpoint(facts: Mapping[str, str]) -> str:
    if "endpoint" not in facts:
        return "has no endpoint any more"
    return f"is at {facts['endpoint']}" + (f" now, and not at {facts['before']}" if "before" in facts else "")


def _drops(facts: Mapping[str, str]) -> str:
    parts = [
        f"{count} {name}" + (f" ({REASONS[name].meaning})" if name in REASONS else "") for name, count in facts.items()
    ]
    return f"dropped or refused: {', '.join(parts)}"


_SAY: Final[Mapping[str, Callable[[Mapping[str, str]], str]]] = {
    events.SUBSCRIBED: lambda facts: "watching",
    events.LOST: lambda facts: f"{facts.get('events', '?')} events are lost: this reader was too slow",
    events.ENDING: lambda facts: "its daemon ends",
    DISCONNECTED: lambda facts: "its daemon is gone; waiting for another",
    events.HANDSHAKE: lambda facts: f"handshake with {_place(facts)}",
    events.PEER_UP: lambda facts: "is up",
    events.PEER_STALE: lambda facts: f"is stale: no handshake for {facts.get('handshake_age', '?')} s",
    events.UNANSWERED: _unanswered,
    events.ENDPOINT: _endpoint,
    events.PEER_ADDED: lambda facts: "added",
    events.PEER_REMOVED: lambda facts: "removed",
    events.CONFIGURATION: lambda facts: f"configuration changed: {facts.get('changed', '')}".rstrip(": "),
    events.INTERFACE_UP: lambda facts: "interface is up",
    events.INTERFACE_DOWN: lambda facts: "interface is down",
    events.DROPS: _drops,
}
