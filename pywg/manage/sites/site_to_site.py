"""`pywg init site-to-site`: two sites and the files for both."""

import os
import shlex
from collections.abc import Sequence

from pywg.config.model import Prefix
from pywg.constants import KEY_LEN
from pywg.errors import ConfigError
from pywg.manage.sites import text
from pywg.manage.sites.keys import give_key
from pywg.manage.sites.site import KEEPALIVE_S, Site, address_in, check_together

DEFAULT_TUNNELS = ("10.99.0.0/30", "10.199.0.0/30", "172.31.99.0/30", "192.168.199.0/30")
"""The first that is in none of the sites' networks."""


def join(
    left: Site, right: Site, tunnel: Sequence[Prefix], *, nat: Sequence[str] = (), keepalive: int | None = None
) -> None:
    """Gives both their addresses and keys. `nat`: names of sites behind NAT, besides those without an endpoint.

    Raises ConfigError when they can't be joined.
    """
    if left.name == right.name:
        raise ConfigError(f"both sites are called {left.name}: give them two names")
    if not left.endpoint and not right.endpoint:
        raise ConfigError("one of the two sites needs an endpoint: an address or a name that the other can reach")
    check_together((left, right), tunnel)
    for number, site in enumerate((left, right)):
        site.addresses = [address_in(network, number) for network in tunnel]
        behind = site.endpoint is None or site.name in nat
        site.keepalive = (KEEPALIVE_S if behind else 0) if keepalive is None else keepalive
        give_key(site)


def files(left: Site, right: Site, *, interface: str, psk: bool) -> dict[str, str]:
    """The texts of all files, by path: a folder for each site."""
    secret = os.urandom(KEY_LEN)
    found: dict[str, str] = {}
    for site, other in ((left, right), (right, left)):
        found |= files_of(site, [other], interface=interface, config="")
        found[f"{site.name}/{interface}.conf"] = text.config_of(
            site, text.own_part(site), [(other, text.peer_part(other))], (lambda *_: secret) if psk else None
        )
    return found


def files_of(site: Site, others: Sequence[Site], *, interface: str, config: str) -> dict[str, str]:
    """The files of one site, by path."""
    found = {f"{site.name}/{interface}.conf": config}
    if site.networks:
        found[f"{site.name}/{interface}.nft"] = text.nft_of(site, others, interface)
        found[f"{site.name}/{interface}-sysctl.conf"] = text.sysctl_of(site)
    return found


def to_run(site: Site, interface: str) -> list[str]:
    """The commands for root in the site's folder, once it is copied there."""
    commands = [f"install -D -m 600 {interface}.conf /etc/wireguard/{interface}.conf"]
    if site.networks:
        sysctl = f"/etc/sysctl.d/90-{interface}.conf"
        commands.append(f"install -D -m 644 {interface}-sysctl.conf {sysctl}")
        commands.append(f"sysctl -p {sysctl}")
        commands.append(f"nft -f {interface}.nft")
    return [*commands, f"pywg up {interface}"]


def what_next(left: Site, right: Site, *, interface: str, folder: str) -> str:
    """What the operator does with the files."""
    lines = []
    paths = [os.path.join(folder, site.name) for site in (left, right)]
    for site, path in zip((left, right), paths, strict=True):
        how = ""
        if site.endpoint:
            host = f"[{site.endpoint[0]}]" if ":" in site.endpoint[0] else site.endpoint[0]
            how = f" (such as by `scp -r {shlex.quote(path)} root@{host}:`)"
        lines.append(f"At {site.name}, as root, with a copy of the folder {path}{how}:")
        lines += [f"  {command}" for command in (f"cd {site.name}", *to_run(site, interface))]
        if site.endpoint:
            lines.append(f"Its firewall, and a router with NAT before it, let UDP port {site.port} in.")
        lines.append("")
    lines.append(
        f"Then `pywg ping {right.name}` at {left.name} goes through the tunnel; if not, `pywg doctor` says why."
    )
    lines.append(f"The folders hold private keys: `rm -r {shlex.join(paths)}` when they are where they belong.")
    return "\n".join(lines) + "\n"
