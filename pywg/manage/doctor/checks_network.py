"""Checks of the network outside the tunnel, and of the routes into it."""

from collections.abc import Iterator
from typing import Final

from pywg.config.addresses import V4_LEN, format_ip, format_prefix, format_sock_addr, mask
from pywg.config.model import Prefix, SockAddr
from pywg.manage.doctor.facts import OVERHEAD_V4, OVERHEAD_V6, Facts, Path, PeerFacts, Verdict
from pywg.manage.doctor.finding import Finding, error, note, ok, warning

_STRICT: Final = 1
_MOST_ROUTES: Final = 5
"""Routes that are wrong and named; further ones are counted."""


def endpoints(facts: Facts) -> Iterator[Finding]:
    """Each endpoint can be sent to."""
    for peer, place, path in _paths(facts):
        there = format_sock_addr(place)
        if path.route.fault:
            text = f"there is no route to its endpoint {there}: {path.route.fault}"
            yield error(
                "endpoint",
                text,
                f"ip route get {format_ip(place[0])}; is the uplink up, has it a gateway?",
                peer=peer.name,
            )
        elif _through_itself(facts, path):
            text = f"the route to its endpoint {there} leads into {facts.interface} itself: a routing loop"
            yield error("routing-loop", text, _mend_loop(facts, place), peer=peer.name)
        elif path.refusal and path.refused_here:
            text = f"nothing can be sent to {there}: {path.refusal}"
            yield error("endpoint", text, "nft list ruleset: let UDP out to that port", peer=peer.name)
        elif path.refusal:
            text = f"{there} refuses what is sent there: {path.refusal}"
            yield error(
                "endpoint", text, "start pywg there; check the port in Endpoint, and the firewalls", peer=peer.name
            )
        else:
            yield ok("endpoint", f"there is a way to {there}, by {path.route.interface}", peer=peer.name)


def loop_to_come(facts: Facts) -> Iterator[Finding]:
    """Before a start: allowed IPs that would take the way to the endpoint into the tunnel."""
    if facts.running is not None or facts.file is None or facts.file.table == "off":
        return
    for peer, place, path in _paths(facts):
        for other in facts.peers:
            for net, cidr in other.allowed_ips:
                covers = len(net) == len(place[0]) and mask(place[0], cidr) == net
                if cidr and covers and path.route.matched is not None and path.route.matched < cidr:
                    prefix, there = format_prefix((net, cidr)), format_ip(place[0])
                    text = f"{prefix} of the allowed IPs contains its endpoint {there}: a routing loop"
                    yield error("routing-loop", text, _mend_loop(facts, place), peer=peer.name)


def _mend_loop(facts: Facts, place: SockAddr) -> str:
    host = f"{format_ip(place[0])}/{len(place[0]) * 8}"
    return f"ip route add {host} via GATEWAY; or a FwMark with a rule, as `pywg up` makes for 0.0.0.0/0"


def path_mtu(facts: Facts) -> Iterator[Finding]:
    """A full packet of the tunnel fits the way to the endpoint."""
    mtu = facts.link.mtu if facts.link is not None else (facts.file.mtu if facts.file is not None else None)
    for peer, place, path in _paths(facts):
        if mtu is None or not path.mtu or path.route.fault or _through_itself(facts, path):
            continue
        overhead = OVERHEAD_V4 if len(place[0]) == V4_LEN else OVERHEAD_V6
        fits = path.mtu - overhead
        if mtu > fits:
            wanted = max(path.mtu - OVERHEAD_V6, 1280) if path.mtu >= 1360 else fits
            text = (
                f"the MTU {mtu} is too large for the way to {format_ip(place[0])}, which takes {path.mtu} bytes "
                f"({path.mtu_from}): full packets are cut or lost"
            )
            yield warning(
                "mtu",
                text,
                f"ip link set {facts.interface} mtu {wanted}, and MTU = {wanted} in the file",
                peer=peer.name,
            )
        else:
            yield ok(
                "mtu", f"the MTU {mtu} fits the way, which takes {path.mtu} bytes ({path.mtu_from})", peer=peer.name
            )


def firewall(facts: Facts) -> Iterator[Finding]:
    """The packet filter of this host lets the tunnel's datagrams out and in."""
    said: set[str] = set()
    for peer in facts.peers:
        found = facts.network.filtered.get(peer.endpoint or _NOWHERE)
        if found is None:
            continue
        for finding in (
            *_outgoing(facts, peer, found.outgoing),
            *_incoming(facts, peer, found.incoming, found.answers),
        ):
            if finding.text not in said:
                said.add(finding.text)
                yield finding
    forwarded = next((one.forwarded for one in facts.network.filtered.values() if one.forwarded is not None), None)
    if forwarded is not None and forwarded.drops and forwarded.certain and _is_site(facts):
        text = f"the packet filter drops what is forwarded from {facts.interface} ({_by(forwarded)})"
        mend = f"nft insert rule {forwarded.chain} iifname {facts.interface} accept; and oifname likewise"
        yield warning("firewall-forward", text, mend)
    if facts.network.filtered and not said:
        yield ok("firewall", "no rule of nftables drops the tunnel's datagrams")


_NOWHERE: Final[SockAddr] = (b"", 0, 0)
"""The key of the verdicts about peers whose endpoint is not known."""


def _outgoing(facts: Facts, peer: PeerFacts, verdict: Verdict | None) -> Iterator[Finding]:
    if verdict is not None and verdict.drops and peer.endpoint is not None:
        text = f"the packet filter drops what is sent to {format_sock_addr(peer.endpoint)} ({_by(verdict)})"
        mend = f"nft insert rule {verdict.chain} udp dport {peer.endpoint[1]} accept"
        yield (error if verdict.certain else warning)("firewall-out", _perhaps(text, verdict), mend)


def _incoming(facts: Facts, peer: PeerFacts, new: Verdict | None, answers: Verdict | None) -> Iterator[Finding]:
    if new is None or not new.drops:
        return
    port = facts.listen_port
    mend = f"nft insert rule {new.chain} udp dport {port or 'PORT'} accept"
    if answers is not None and not answers.drops and peer.endpoint is not None:
        text = f"the packet filter lets in answers alone to UDP port {port} ({_by(new)}): only this end can begin"
        yield (note if peer.keepalive else warning)("firewall-in", _perhaps(text, new), mend)
    else:
        text = f"the packet filter drops what comes to UDP port {port} ({_by(new)})"
        yield (error if new.certain else warning)("firewall-in", _perhaps(text, new), mend)


def _perhaps(text: str, verdict: Verdict) -> str:
    return text if verdict.certain else f"{text}, unless a rule lets it pass that can't be judged here"


def _by(verdict: Verdict) -> str:
    return f"{verdict.rule}, {verdict.packets} packets so far" if verdict.packets else verdict.rule


def routes(facts: Facts) -> Iterator[Finding]:
    """What goes to the allowed IPs goes into the tunnel."""
    if facts.link is None or not facts.link.up or facts.running is None:
        return
    wrong = [
        (peer, prefix, facts.network.routes[prefix])
        for peer in facts.peers
        for prefix in peer.allowed_ips
        if prefix in facts.network.routes and facts.network.routes[prefix].index != facts.link.index
    ]
    for peer, prefix, route in wrong[:_MOST_ROUTES]:
        if route.interface == "lo":
            continue  # an address of this host's: checks_daemon.tunnel_addresses
        where = f"goes to {route.interface}" if route.interface else f"has no route ({route.fault})"
        table_off = facts.file is not None and facts.file.table == "off"
        text = f"{format_prefix(prefix)} is an allowed IP, and {where}, not to {facts.interface}"
        mend = f"ip route add {format_prefix(prefix)} dev {facts.interface}"
        if not prefix[1]:
            mend = f"pywg up sets up the policy routing that {format_prefix(prefix)} needs"
        if table_off:
            yield note("route", f"{text} (Table = off: routes are another program's)", mend, peer=peer.name)
        else:
            yield (error if route.fault else warning)("route", text, mend, peer=peer.name)
    if len(wrong) > _MOST_ROUTES:
        yield warning(
            "route", f"{len(wrong) - _MOST_ROUTES} more allowed IPs are not routed into the tunnel", "see `ip route`"
        )
    if facts.network.routes and not wrong:
        yield ok("route", "all allowed IPs are routed into the tunnel")


def same_network(facts: Facts) -> Iterator[Finding]:
    """No other interface has a network of the other site."""
    for peer in facts.peers:
        for net, cidr in peer.allowed_ips:
            for name, (other, length) in facts.network.others:
                if not cidr or len(other) != len(net):
                    continue
                if length <= cidr < len(net) * 8 and mask(net, length) == other:
                    its, here = format_prefix((net, cidr)), format_prefix((other, length))
                    text = f"{its} of its allowed IPs is also the network of {name} here ({here})"
                    mend = "the sites need different networks: renumber one of them, or translate it (NETMAP)"
                    yield error("same-network", text, mend, peer=peer.name)
                elif cidr < length and mask(other, cidr) == net:
                    its, here = format_prefix((net, cidr)), format_prefix((other, length))
                    text = f"{name} has {here}, a part of its allowed IP {its}: that part is reached here, not there"
                    yield note("same-network", text, peer=peer.name)


def forwarding(facts: Facts) -> Iterator[Finding]:
    """A host between two networks has to forward."""
    if not _is_site(facts) and not _is_hub(facts):
        return
    for version, on in facts.machine.ip_forward.items():
        nets = _networks(facts, version)
        if not nets and not (_is_hub(facts) and version == 4):
            continue
        name = "net.ipv4.ip_forward" if version == 4 else "net.ipv6.conf.all.forwarding"
        if on:
            yield ok("forwarding", f"IPv{version} is forwarded between the tunnel and other networks")
        else:
            text = f"{name} is 0: this host takes part in the tunnel, and no host behind it does"
            yield warning("forwarding", text, f"sysctl -w {name}=1, and a line in /etc/sysctl.d")


def reverse_path(facts: Facts) -> Iterator[Finding]:
    """A strict reverse-path filter drops what comes by another way than the answer would take."""
    network, link = facts.network, facts.link
    marks = facts.fwmark != 0
    for _, place, path in _paths(facts):
        name = path.route.interface
        if len(place[0]) != V4_LEN or network.rp_filter.get(name) != _STRICT or not marks:
            continue
        if (
            any(not cidr and len(net) == V4_LEN for peer in facts.peers for net, cidr in peer.allowed_ips)
            and not network.src_valid_mark
        ):
            text = (
                f"{name} filters strictly by the way back (rp_filter=1), and that way is into the tunnel: "
                "answers of endpoints are dropped"
            )
            yield error(
                "rp-filter", text, f"sysctl -w net.ipv4.conf.all.src_valid_mark=1 (or net.ipv4.conf.{name}.rp_filter=2)"
            )
            break
    if link is None or network.rp_filter.get(facts.interface) != _STRICT:
        return
    astray = [
        prefix
        for prefix, route in network.routes.items()
        if len(prefix[0]) == V4_LEN and route.index != link.index and route.interface != "lo"
    ]
    if astray:
        text = (
            f"{facts.interface} filters strictly by the way back (rp_filter=1), and {format_prefix(astray[0])} is "
            "routed elsewhere: what comes from there is dropped"
        )
        mend = f"sysctl -w net.ipv4.conf.{facts.interface}.rp_filter=2 net.ipv4.conf.all.rp_filter=2"
        yield warning("rp-filter", text, mend)


def _paths(facts: Facts) -> Iterator[tuple[PeerFacts, SockAddr, Path]]:
    for peer in facts.peers:
        if peer.endpoint is not None and peer.endpoint in facts.network.paths:
            yield peer, peer.endpoint, facts.network.paths[peer.endpoint]


def _through_itself(facts: Facts, path: Path) -> bool:
    return facts.link is not None and path.route.index == facts.link.index


def _networks(facts: Facts, version: int) -> list[Prefix]:
    """Allowed IPs that are networks, other than the tunnel's own and the default route."""
    length = 4 if version == 4 else 16
    link = facts.link.addresses if facts.link is not None else (facts.file.addresses if facts.file is not None else [])
    own = {(mask(ip, cidr), cidr) for ip, cidr in link}
    found = [prefix for peer in facts.peers for prefix in peer.allowed_ips if len(prefix[0]) == length]
    return [one for one in found if 0 < one[1] < length * 8 and one not in own]


def _is_site(facts: Facts) -> bool:
    """Whether networks are joined, as far as that shows: there are networks there, and one here but the uplink's."""
    uplinks = {path.route.interface for path in facts.network.paths.values()}
    here = {name for name, _ in facts.network.others if name not in uplinks}
    return bool((_networks(facts, 4) or _networks(facts, 6)) and here)


def _is_hub(facts: Facts) -> bool:
    """Whether peers may want to reach each other through this host: several, and in its own network."""
    link = facts.link.addresses if facts.link is not None else []
    nets = [(mask(ip, cidr), cidr) for ip, cidr in link if cidr < len(ip) * 8]
    inside = [
        peer
        for peer in facts.peers
        if any(len(ip) == len(net) and mask(ip, length) == net for ip, _ in peer.allowed_ips for net, length in nets)
    ]
    return len(inside) > 1
