"""Checks of each peer: handshake, endpoint, keepalive, keys and allowed IPs."""

import ipaddress
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from pywg.config.addresses import format_prefix, format_sock_addr
from pywg.config.keys import format_key_base64
from pywg.config.model import Prefix
from pywg.manage.doctor.facts import Facts, PeerFacts
from pywg.manage.doctor.finding import Finding, error, note, ok, warning

_PRIVATE: Final = [
    ipaddress.ip_network(net)
    for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fc00::/7")
]
_FRESH_S: Final = 180
"""Reject-After-Time: a session older than this is none."""


def handshake(facts: Facts) -> Iterator[Finding]:
    """Each peer has a session, or there is a reason why it has none."""
    if facts.running is None or (facts.link is not None and not facts.link.up):
        return
    stats = facts.running.stats
    for peer in facts.peers:
        age = facts.machine.wall - peer.handshake_at
        if peer.handshake_at and -5 < age < _FRESH_S and not peer.trouble and peer.unanswered < 2:
            yield ok("handshake", f"the last handshake is {max(age, 0):.0f} s old", peer=peer.name)
        else:
            yield _no_handshake(facts, stats, peer)


def _no_handshake(facts: Facts, stats: dict[str, str], peer: PeerFacts) -> Finding:
    name = facts.interface
    if _count(stats, "handshake_bad_response") or "preshared" in peer.trouble:
        text = (
            "answers, and its answers do not authenticate: the preshared keys differ, or the file's keys are mixed up"
        )
        return error(
            "handshake",
            text,
            "give both ends the same PresharedKey, or none, and each the other's public key",
            peer=peer.name,
        )
    if peer.trouble:
        return error("handshake", peer.trouble, f"pywg log {name} debug, and look at the log", peer=peer.name)
    if _count(stats, "handshake_unknown_peer"):
        text = (
            "no handshake, and a peer that is unknown here begins handshakes: is its public key another than ours says?"
        )
        return error(
            "handshake", text, "at that peer: wg show IFACE public-key; put that into PublicKey here", peer=peer.name
        )
    if _count(stats, "rx_bad_mac1") and not peer.handshake_at:
        text = "no handshake, and handshakes come that are made for another public key than ours"
        return error(
            "handshake", text, f"at that peer, set PublicKey to what `wg show {name} public-key` says", peer=peer.name
        )
    if peer.handshake_at and peer.unanswered < 2:
        text = "was connected, and nothing was sent lately: without traffic there is no handshake"
        return note("handshake", text, f"pywg ping {peer.name}", peer=peer.name)
    if peer.tx_bytes and peer.unanswered != 0:
        there = format_sock_addr(peer.endpoint) if peer.endpoint is not None else "it"
        count = f"{peer.unanswered} " if peer.unanswered > 0 else ""
        text = f"{count}initiations to {there} are unanswered"
        mend = "look there: does it run, does its firewall let that UDP port in, has it our public key?"
        return error("handshake", text, mend, peer=peer.name)
    if peer.endpoint is None:
        text = "never connected, and no endpoint is known: it has to begin"
        return warning(
            "handshake",
            text,
            f"at that peer: Endpoint = this host, PersistentKeepalive = 25; then pywg ping {name}",
            peer=peer.name,
        )
    text = "never connected: nothing was sent to it yet"
    return note("handshake", text, f"pywg ping {peer.name}", peer=peer.name)


def replays(facts: Facts) -> Iterator[Finding]:
    """No peer's clock has gone back."""
    count = _count(facts.running.stats, "handshake_replayed_initiation") if facts.running is not None else 0
    if count:
        waiting = any(facts.machine.wall - peer.handshake_at > _FRESH_S for peer in facts.peers)
        whose = f" of {facts.peers[0].name}" if len(facts.peers) == 1 else ""
        text = f"{count} initiations{whose} were older than one before: its clock has gone back, or they are repeated"
        mend = "there: timedatectl set-ntp true; then a restart of pywg here, which forgets the newer times"
        yield (error if waiting else warning)("peer-clock", text, mend)


def endpoint(facts: Facts) -> Iterator[Finding]:
    """A peer's name has an address, and the daemon has the newest."""
    for peer in facts.file.peers if facts.file is not None else []:
        if peer.host and peer.resolve_fault:
            text = f"its endpoint {peer.host} can't be resolved: {peer.resolve_fault}"
            yield error(
                "resolve",
                text,
                f"getent ahosts {peer.host}; mend the name or the DNS servers of this host",
                peer=peer.name,
            )


def keepalive(facts: Facts) -> Iterator[Finding]:
    """A peer behind NAT keeps its way open: this host seems to be one when its own address is private."""
    for peer in facts.peers:
        path = facts.network.paths.get(peer.endpoint) if peer.endpoint is not None else None
        if path is None or peer.endpoint is None or peer.keepalive or not path.route.source:
            continue
        if _is_private(path.route.source) and not _is_private(peer.endpoint[0]):
            text = "this host seems to be behind NAT, and has no keepalive: after silence that peer can't reach it"
            yield warning(
                "keepalive",
                text,
                f"wg set {facts.interface} peer {format_key_base64(peer.public_key)} persistent-keepalive 25",
                peer=peer.name,
            )


def overlaps(facts: Facts) -> Iterator[Finding]:
    """Each key and each prefix has one owner."""
    listed = facts.file.peers if facts.file is not None and not facts.file.errors else facts.peers
    owners: defaultdict[Prefix, list[str]] = defaultdict(list)
    keys: defaultdict[bytes, list[str]] = defaultdict(list)
    for peer in listed:
        keys[peer.public_key].append(peer.name)
        for prefix in set(peer.allowed_ips):
            owners[prefix].append(peer.name)
    for names in keys.values():
        if len(names) > 1:
            text = (
                f"{' and '.join(names)} have the same public key: they are one peer, and the last one's settings count"
            )
            yield error("same-key", text, "give each site its own key: pywg genkey")
    for prefix, names in owners.items():
        if len(set(names)) > 1:
            text = f"{format_prefix(prefix)} is an allowed IP of {' and '.join(names)}: only the last one gets it"
            yield error("same-allowed-ip", text, "leave each prefix to one peer")
    own = facts.file.own_key if facts.file is not None else None
    for peer in listed:
        if own is not None and peer.public_key == own:
            text = "has this host's own public key: it is left out"
            yield error("own-key", text, "put the other site's public key there", peer=peer.name)


def empty(facts: Facts) -> Iterator[Finding]:
    """A peer without allowed IPs gets nothing."""
    for peer in facts.peers:
        if not peer.allowed_ips:
            text = "has no allowed IPs: nothing can be sent to it, and nothing of it is taken"
            yield warning("allowed-ips", text, "add the networks behind it to its AllowedIPs", peer=peer.name)


def _count(stats: dict[str, str], name: str) -> int:
    value = stats.get(f"counter_{name}", "0")
    return int(value) if value.isdecimal() else 0


def _is_private(ip: bytes) -> bool:
    address = ipaddress.ip_address(ip)
    return any(address.version == net.version and address in net for net in _PRIVATE)
