"""What a file asks of the companion. Nothing of it is a secret."""

import hashlib
import json
from dataclasses import dataclass, field

from pywg.config.quick_extensions import HookSetting, HostPort, read_extensions
from pywg.manage.companion.apart import apart
from pywg.manage.tunnel import names
from pywg.manage.tunnel.names import QuickFile, Target


@dataclass(frozen=True)
class PeerSetting:
    """A peer that has endpoints."""

    public_key: bytes
    name: str
    """"" for none"""
    endpoints: list[HostPort]
    """in the order in which they are tried"""


@dataclass(frozen=True)
class Settings:
    """All."""

    peers: list[PeerSetting] = field(default_factory=list)
    """those whose endpoints are more than one address"""
    names: dict[bytes, str] = field(default_factory=dict)
    hooks: list[HookSetting] = field(default_factory=list)
    hook_user: str = ""
    failback_s: int = 0
    wanted: bool = False


def settings_in(file: QuickFile) -> Settings:
    """Of a file that was read. Raises WgQuickError."""
    extensions = read_extensions(file.text, file.target.path)
    endpoints: dict[bytes, list[HostPort]] = {}
    named: dict[bytes, str] = {}
    for position, peer in enumerate(file.config.peers):
        more = extensions.endpoints.get(position, [])
        own = [peer.endpoint] if peer.endpoint is not None else []
        endpoints[peer.public_key] = list(dict.fromkeys([*own, *more])) or endpoints.get(peer.public_key, [])
        if peer.name:
            named[peer.public_key] = peer.name
    peers = [
        PeerSetting(key, named.get(key, ""), found)
        for key, found in endpoints.items()
        if extensions.companion or len(found) > 1
    ]
    return Settings(
        [peer for peer in peers if peer.endpoints],
        named,
        extensions.hooks,
        extensions.hook_user,
        extensions.failback_s,
        extensions.wanted,
    )


def read_apart(target: Target) -> Settings:
    """Reads the file in another process: no key that is in it comes into this one.

    Raises PywgError when it can't be read, or for what it says.
    """
    given = apart(lambda: _as_json(settings_in(names.read(target))))
    return Settings(
        [
            PeerSetting(bytes.fromhex(key), name, [(host, port) for host, port in endpoints])
            for key, name, endpoints in given["peers"]
        ],
        {bytes.fromhex(key): name for key, name in given["names"].items()},
        [HookSetting(tuple(events), program) for events, program in given["hooks"]],
        given["hook_user"],
        given["failback_s"],
        given["wanted"],
    )


def digest(settings: Settings) -> str:
    """Equal for settings that are."""
    return hashlib.sha256(json.dumps(_as_json(settings)).encode()).hexdigest()


def _as_json(settings: Settings) -> dict[str, object]:
    return {
        "peers": [(peer.public_key.hex(), peer.name, peer.endpoints) for peer in settings.peers],
        "names": {key.hex(): name for key, name in settings.names.items()},
        "hooks": settings.hooks,
        "hook_user": settings.hook_user,
        "failback_s": settings.failback_s,
        "wanted": settings.wanted,
    }
