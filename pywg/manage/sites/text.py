"""The files of a site: for `pywg up` or wg-quick, for nftables, for sysctl."""

from collections.abc import Callable, Iterator, Sequence

from pywg.config.addresses import format_prefix
from pywg.config.keys import format_key_base64
from pywg.config.model import Prefix
from pywg.config.wg_quick import InterfaceSection, PeerSection, WgQuickConfig, format, format_peer
from pywg.manage.sites.site import Site, is_v4

Psk = Callable[[Site, Site], bytes]
"""The preshared key of a pair, in either order."""


def own_part(site: Site) -> str:
    """[Interface] of its wg-quick file."""
    interface = InterfaceSection(site.private_key, site.port, addresses=site.addresses, name=site.name)
    return format(WgQuickConfig(interface))


def peer_part(site: Site) -> str:
    """[Peer] for it in another site's file, without what only the two have."""
    peer = PeerSection(site.public_key, None, site.reached_by, site.endpoint, name=site.name)
    return "\n".join(["", "[Peer]", *format_peer(peer)]) + "\n"


def config_of(site: Site, own: str, peers: Sequence[tuple[Site, str]], psk: Psk | None) -> str:
    """The whole file. `peers`: sites and their `peer_part`; those that it can neither call nor hear are left out."""
    keepalive = f"PersistentKeepalive = {site.keepalive}\n" if site.keepalive else ""
    parts = [own]
    for peer, part in peers:
        if site.endpoint or peer.endpoint:
            secret = f"PresharedKey = {format_key_base64(psk(site, peer))}\n" if psk else ""
            parts.append(part + secret + (keepalive if peer.endpoint else ""))
    return "".join(parts)


def nft_of(site: Site, others: Sequence[Site], interface: str) -> str:
    """A ruleset of its own for `nft -f`, which may be loaded again."""
    there = [prefix for other in others for prefix in other.reached_by]
    table = f"table inet pywg-{interface}"
    lines = [
        f"# {site.name}: what may be forwarded through {interface}. `nft -f {interface}.nft` loads it;",
        "# included in /etc/nftables.conf, each start of the machine does. Your own rules stay.",
        f"# Where they drop what they don't know, add `udp dport {site.port} accept` to your chain of",
        f'# input, `iifname "{interface}" accept` and `oifname "{interface}" accept` to the one of forward.',
        "# What goes from site to site keeps its source address: masquerade only what leaves to the",
        "# Internet.",
        table,
        f"delete {table}",
        f"{table} {{",
        *(line for version in (4, 6) for line in _sets(version, site.networks, there)),
        "\tchain forward {",
        "\t\ttype filter hook forward priority filter; policy accept;",
        f'\t\tiifname "{interface}" tcp flags syn tcp option maxseg size set rt mtu',
        f'\t\toifname "{interface}" tcp flags syn tcp option maxseg size set rt mtu',
        *(line for version in (4, 6) for line in _rules(version, site.networks, there, interface)),
        f'\t\tiifname "{interface}" drop',
        f'\t\toifname "{interface}" drop',
        "\t}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _of(version: int, prefixes: Sequence[Prefix]) -> list[Prefix]:
    return [prefix for prefix in prefixes if is_v4(prefix) == (version == 4)]


def _both(version: int, here: Sequence[Prefix], there: Sequence[Prefix]) -> bool:
    return bool(_of(version, here) and _of(version, there))


def _sets(version: int, here: Sequence[Prefix], there: Sequence[Prefix]) -> Iterator[str]:
    if _both(version, here, there):
        for name, prefixes in (("here", here), ("there", there)):
            elements = ", ".join(map(format_prefix, _of(version, prefixes)))
            kind = f"type ipv{version}_addr; flags interval; auto-merge"
            yield f"\tset {name}{version} {{ {kind}; elements = {{ {elements} }}; }}"


def _rules(version: int, here: Sequence[Prefix], there: Sequence[Prefix], interface: str) -> Iterator[str]:
    if _both(version, here, there):
        ip = "ip" if version == 4 else "ip6"
        yield f'\t\tiifname "{interface}" {ip} saddr @there{version} {ip} daddr @here{version} accept'
        yield f'\t\toifname "{interface}" {ip} saddr @here{version} {ip} daddr @there{version} accept'


def sysctl_of(site: Site) -> str:
    """What makes a router of it, for /etc/sysctl.d."""
    lines = [f"# {site.name}: packets are forwarded between the tunnel and the networks behind it."]
    if _of(4, site.networks):
        lines.append("net.ipv4.ip_forward = 1")
    if _of(6, site.networks):
        lines.append("net.ipv6.conf.all.forwarding = 1")
    return "\n".join(lines) + "\n"
