"""What the commands show, as objects for JSON. docs/json.md says what each field means; a field never changes that.

Times are seconds, sizes bytes. A field that isn't known is null.
"""

from typing import Any

from pywg.config.addresses import format_prefix, format_sock_addr
from pywg.config.keys import format_key_base64
from pywg.config.model import PeerStatus
from pywg.manage.reasons import PREFIX, drops
from pywg.manage.sight import Rates, Sight
from pywg.manage.verdict import verdict
from pywg.manage.wg_show import View

_NS = 1_000_000_000
_SANDBOX = "sandbox_"
_OFFLOAD = "offload_"
_MEMORY = "memory_"


def shown_interface(view: View, *, told: bool, keys: bool) -> dict[str, Any]:
    """An interface as `pywg show --json` shows it. `told`: the daemon tells keys; `keys`: they are to be shown."""
    status = view.status
    found: dict[str, Any] = {
        "name": view.name,
        "public_key": _key(view.public_key),
        "listen_port": status.listen_port or None,
        "fwmark": status.fwmark or None,
        "private_key_set": view.public_key is not None if told else None,
    }
    if keys and told:
        found["private_key"] = view.private_key() if view.public_key is not None else None
    found["peers"] = []
    for peer in status.peers:
        shown = _peer(peer)
        shown["preshared_key_set"] = view.has_preshared_key(peer) if told else None
        if keys and told:
            shown["preshared_key"] = view.preshared_key(peer) if view.has_preshared_key(peer) else None
        found["peers"].append(shown)
    return found


def seen_interface(sight: Sight, speed: Rates | None) -> dict[str, Any]:
    """An interface as `pywg status --json` shows it; `speed` None: no rates were taken."""
    stats, status = sight.stats, sight.status
    return {
        "name": sight.interface,
        "daemon": {
            "program": sight.daemon.program or None,
            "pid": sight.daemon.pid or None,
            "version": stats.get("version"),
            "uptime_seconds": _number(stats, "uptime_seconds"),
            "resident_bytes": sight.resident_bytes or None,
        },
        "up": _flag(stats, "up"),
        "sockets_open": _flag(stats, "sockets_open"),
        "public_key": _key(sight.public_key),
        "private_key_set": sight.private_key_is_set,
        "listen_port": status.listen_port or None,
        "fwmark": status.fwmark or None,
        "mtu": _number(stats, "mtu"),
        "in_this_namespace": sight.here,
        "addresses": sight.addresses,
        "cipher": {
            "name": stats.get("aead"),
            "asked": stats.get("aead_asked"),
            "available": stats["aead_available"].split(",") if "aead_available" in stats else None,
        },
        "threads": _number(stats, "threads"),
        "shards": _number(stats, "shards"),
        "offloads": {name: bool(value) for name, value in _numbers(stats, _OFFLOAD).items()},
        "memory": _numbers(stats, _MEMORY),
        "secrets_locked": _flag(stats, "secrets_locked"),
        "sandbox": _numbers(stats, _SANDBOX),
        "counters": _numbers(stats, PREFIX),
        "drops": [
            {"name": drop.name, "count": drop.times, "meaning": drop.reason.meaning, "hint": drop.reason.hint}
            for drop in drops(stats)
        ],
        "rx_bytes": sum(peer.rx_bytes for peer in status.peers),
        "tx_bytes": sum(peer.tx_bytes for peer in status.peers),
        "rx_bytes_per_second": round(speed.rx) if speed else None,
        "tx_bytes_per_second": round(speed.tx) if speed else None,
        "peers": [_seen_peer(sight, peer, speed) for peer in status.peers],
    }


def _seen_peer(sight: Sight, peer: PeerStatus, speed: Rates | None) -> dict[str, Any]:
    found = verdict(sight, peer)
    trouble = sight.troubles.get(peer.public_key)
    rx, tx = speed.peers.get(peer.public_key, (None, None)) if speed else (None, None)
    return {
        "name": sight.names.get(peer.public_key),
        **_peer(peer),
        "state": str(found.state),
        "detail": found.detail or None,
        "handshake_age_seconds": None if found.handshake_age is None else round(found.handshake_age, 3),
        "initiations_unanswered": trouble.initiations_unanswered if trouble else 0,
        "unanswered_seconds": trouble.unanswered_seconds if trouble else 0,
        "rx_bytes_per_second": None if rx is None else round(rx),
        "tx_bytes_per_second": None if tx is None else round(tx),
    }


def _peer(peer: PeerStatus) -> dict[str, Any]:
    return {
        "public_key": _key(peer.public_key),
        "endpoint": None if peer.endpoint is None else format_sock_addr(peer.endpoint),
        "allowed_ips": [format_prefix(prefix) for prefix in peer.allowed_ips],
        "latest_handshake": peer.last_handshake_ns // _NS or None,
        "rx_bytes": peer.rx_bytes,
        "tx_bytes": peer.tx_bytes,
        "persistent_keepalive": peer.persistent_keepalive or None,
    }


def _key(key: bytes | None) -> str | None:
    return None if key is None else format_key_base64(key)


def _number(stats: dict[str, str], name: str) -> int | None:
    value = stats.get(name, "")
    return int(value) if value.removeprefix("-").isdecimal() else None


def _flag(stats: dict[str, str], name: str) -> bool | None:
    value = _number(stats, name)
    return None if value is None else bool(value)


def _numbers(stats: dict[str, str], prefix: str) -> dict[str, int]:
    found = {name.removeprefix(prefix): _number(stats, name) for name in stats if name.startswith(prefix)}
    return {name: value for name, value in found.items() if value is not None}
