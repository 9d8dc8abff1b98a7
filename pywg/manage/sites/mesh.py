"""`pywg init mesh`: a tunnel between every two of many sites, and the same keys in each further run.

The folder holds `mesh.json` beside the sites' folders: private keys, addresses, a secret that the preshared keys are
made of, and a digest of every file. A file that has another digest was edited, and is overwritten by force alone.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pywg.config.addresses import format_ip, format_prefix, parse_ip
from pywg.config.keys import format_key_base64, parse_key_base64
from pywg.config.model import Prefix
from pywg.constants import KEY_LEN
from pywg.errors import ConfigError
from pywg.manage.sites import folder as folders
from pywg.manage.sites import text
from pywg.manage.sites.keys import give_key, pair_key, private_network
from pywg.manage.sites.site import KEEPALIVE_S, Site, address_in, check_together, holds, is_v4, room
from pywg.manage.sites.site_to_site import files_of
from pywg.manage.sites.table import Entry

DEFAULT_TUNNEL = "10.99.0.0/16"
MEMORY = "mesh.json"


class Outcome(NamedTuple):
    """What a run did: how many sites were new, got other files, kept theirs."""

    new: int
    changed: int
    same: int
    gone: list[str]
    """in the folder, and no longer in the table: left alone"""
    apart: int
    """pairs without an endpoint at either end, which get no tunnel"""


@dataclass
class Known:
    """What the folder remembers of a site."""

    private_key: bytes = field(repr=False)
    addresses: list[bytes] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    """of its files as they were written, by path"""


@dataclass
class Memory:
    """What the folder remembers."""

    secret: bytes = field(repr=False)
    sites: dict[str, Known] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of the file."""
        sites = {
            name: {
                "private_key": format_key_base64(known.private_key),
                "addresses": [format_ip(ip) for ip in known.addresses],
                "digests": known.digests,
            }
            for name, known in self.sites.items()
        }
        return json.dumps({"secret": format_key_base64(self.secret), "sites": sites}, indent=1) + "\n"


def make(
    entries: Sequence[Entry],
    tunnel: Sequence[Prefix],
    *,
    folder: str,
    interface: str,
    psk: bool,
    force: bool,
    ipv6: bool = False,
) -> Outcome:
    """Writes the files of all sites. `ipv6`: with addresses of a private network, if `tunnel` has none of IPv6.

    Raises ConfigError, before anything is written, and OSError.
    """
    memory = _remembered(folder)
    tunnel = [*tunnel, *_private_network(tunnel, memory, wanted=ipv6)]
    sites = [entry.site for entry in entries]
    new = {site.name for site in sites if site.name not in memory.sites}
    gone = sorted(memory.sites.keys() - {site.name for site in sites})
    _give_addresses(entries, tunnel, memory)
    check_together(sites, tunnel)
    if not force:
        _refuse_edited(sites, memory, folder, interface)
    for site in sites:
        known = memory.sites.get(site.name)
        give_key(site, known.private_key if known else b"")
        known = memory.sites.setdefault(site.name, Known(site.private_key))
        known.addresses = [ip for ip, _ in site.addresses]
        site.keepalive = 0 if site.endpoint else KEEPALIVE_S
    # The memory comes first: a key that is in a file is remembered, wherever this ends.
    folders.write_all(folder, {MEMORY: memory.to_json()}, force=True)
    changed = set()
    for site, files in _files(sites, interface, memory.secret if psk else b""):
        known = memory.sites[site.name]
        digests = {path: _digest(text.encode()) for path, text in files.items()}
        if any(_digest_of(os.path.join(folder, path)) != digest for path, digest in digests.items()):
            folders.write_all(folder, files, force=True)
            changed.add(site.name)
        known.digests = digests
    folders.write_all(folder, {MEMORY: memory.to_json()}, force=True)
    silent = sum(not site.endpoint for site in sites)
    return Outcome(len(new), len(changed - new), len(sites) - len(changed | new), gone, silent * (silent - 1) // 2)


def _remembered(folder: str) -> Memory:
    path = os.path.join(folder, MEMORY)
    try:
        with open(path, "rb") as file:
            found = json.load(file)
        sites = {
            name: Known(
                parse_key_base64(known["private_key"], "a private key"),
                [parse_ip(ip) for ip in known["addresses"]],
                dict(known["digests"]),
            )
            for name, known in found["sites"].items()
        }
        return Memory(parse_key_base64(found["secret"], "the secret"), sites)
    except FileNotFoundError:
        return Memory(os.urandom(KEY_LEN))
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ConfigError(f"{path} is damaged: put a copy back, or remove it for new keys at every site") from None


def _private_network(tunnel: Sequence[Prefix], memory: Memory, *, wanted: bool) -> list[Prefix]:
    """That of the mesh, where it is wanted or a run before has used it."""
    network = private_network(memory.secret)
    used = any(holds(network, ip) for known in memory.sites.values() for ip in known.addresses)
    return [network] if (wanted or used) and all(map(is_v4, tunnel)) else []


def _give_addresses(entries: Sequence[Entry], tunnel: Sequence[Prefix], memory: Memory) -> None:
    """Those of the table, else those of the run before, else the first that are free. Raises ConfigError."""
    taken = {ip for known in memory.sites.values() for ip in known.addresses}
    taken |= {ip for entry in entries for ip in entry.address}
    given = {ip: entry for entry in entries for ip in entry.address}
    for network in tunnel:
        numbers = (address_in(network, number) for number in range(room(network)))
        free = (address for address in numbers if address[0] not in taken)
        for entry in entries:
            known = memory.sites.get(entry.site.name)
            own = [ip for ip in entry.address if holds(network, ip)]
            own = own or [ip for ip in (known.addresses if known else []) if holds(network, ip) and ip not in given]
            address = (own[0], network[1]) if own else next(free, None)
            if address is None:
                raise ConfigError(f"{format_prefix(network)} has no address left for {entry.site.name}")
            entry.site.addresses.append(address)
    for entry in entries:
        for ip in entry.address:
            if not any(holds(network, ip) for network in tunnel):
                tunnels = " and ".join(map(format_prefix, tunnel))
                raise ConfigError(f"{format_ip(ip)} of {entry.site.name} is not in the tunnel's {tunnels}")


def _refuse_edited(sites: Sequence[Site], memory: Memory, folder: str, interface: str) -> None:
    for site in sites:
        digests = known.digests if (known := memory.sites.get(site.name)) else {}
        for path in files_of(site, [], interface=interface, config=""):
            found = _digest_of(os.path.join(folder, path))
            if found and found != digests.get(path):
                what = "was edited" if path in digests else "is there already, and of no run before"
                raise ConfigError(f"{os.path.join(folder, path)} {what}: nothing was written (--force overwrites)")


def _files(sites: Sequence[Site], interface: str, secret: bytes) -> Iterator[tuple[Site, dict[str, str]]]:
    parts = [(site, text.peer_part(site)) for site in sites]
    psk = (lambda one, other: pair_key(secret, one, other)) if secret else None
    for number, site in enumerate(sites):
        others = parts[:number] + parts[number + 1 :]
        config = text.config_of(site, text.own_part(site), others, psk)
        yield site, files_of(site, [other for other, _ in others], interface=interface, config=config)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _digest_of(path: str) -> str:
    """Of a file; "" when there is none."""
    try:
        with open(path, "rb") as file:
            return _digest(file.read())
    except FileNotFoundError:
        return ""
