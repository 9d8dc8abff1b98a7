"""Facts of the network namespace that doctor runs in: interfaces, addresses, routes, the packet filter, ports."""

import contextlib
import errno
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any, Final

from pywg.config.addresses import V4_LEN, format_ip, mask, parse_ip
from pywg.config.model import Prefix
from pywg.manage.doctor.facts import Link, Route
from pywg.manage.doctor.gather_machine import number
from pywg.manage.doctor.packet_filter import Rules
from pywg.manage.rtnetlink import Rtnetlink, messages
from pywg.runtime.net.netlink import Message

_RTM_GETLINK, _RTM_GETADDR, _RTM_GETROUTE = 18, 22, 26
_IFF_UP: Final = 1
_FIB_MATCH: Final = 0x2000
_LOOPBACK: Final = "lo"
_NFT_WITHIN_S: Final = 10.0
_FAULTS: Final = {
    errno.ENETUNREACH: "no route, and no default route",
    errno.EHOSTUNREACH: "a route says that it is unreachable",
    errno.EACCES: "a route prohibits it",
    errno.EINVAL: "a route says: blackhole",
}


class Kernel:
    """rtnetlink's answers in the terms of the facts."""

    def __init__(self) -> None:
        self._netlink = Rtnetlink()
        self._links: list[Message] = self._netlink.dump(_RTM_GETLINK, messages().link, {})
        self._names = {link["index"]: str(link.get_attr("IFLA_IFNAME")) for link in self._links}
        self._addresses = [
            (message["index"], (parse_ip(text), int(message["prefixlen"])))
            for message in self._netlink.dump(_RTM_GETADDR, messages().address, {"family": 0})
            if (text := message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS"))
        ]

    def close(self) -> None:
        """Idempotent."""
        self._netlink.close()

    def link(self, name: str) -> Link | None:
        """None: there is no such interface here."""
        for link in self._links:
            if link.get_attr("IFLA_IFNAME") == name:
                info = link.get_attr("IFLA_LINKINFO")
                kind = info.get_attr("IFLA_INFO_KIND") if info else ""
                up, mtu = bool(link["flags"] & _IFF_UP), int(link.get_attr("IFLA_MTU"))
                found = [prefix for index, prefix in self._addresses if index == link["index"] and not _local(prefix)]
                return Link(link["index"], str(kind or ""), up, mtu, found)
        return None

    def others(self, name: str) -> list[tuple[str, Prefix]]:
        """(interface, network) of the networks of all interfaces but `name` and loopback."""
        found = []
        for index, (ip, cidr) in self._addresses:
            other = self._names.get(index, "")
            if other not in (name, _LOOPBACK, "") and not _local((ip, cidr)):
                found.append((other, (mask(ip, cidr), cidr)))
        return found

    def route(self, ip: bytes, *, mark: int = 0, scope_id: int = 0) -> Route:
        """Where a packet from this host to `ip` goes."""
        attributes: dict[str, object] = {"RTA_DST": format_ip(ip)}
        attributes |= ({"RTA_MARK": mark} if mark else {}) | ({"RTA_OIF": scope_id} if scope_id else {})
        fields = {"family": AF_INET if len(ip) == V4_LEN else AF_INET6, "dst_len": len(ip) * 8}
        try:
            answer = self._netlink.ask(_RTM_GETROUTE, messages().route, fields, attributes)
        except OSError as error:
            return Route(_FAULTS.get(error.errno or 0, error.strerror or str(error)))
        index = answer.get_attr("RTA_OIF") or 0
        metrics = answer.get_attr("RTA_METRICS")
        mtu = (metrics.get_attr("RTAX_MTU") if metrics else 0) or 0
        if not mtu:
            mtu = next((link.get_attr("IFLA_MTU") for link in self._links if link["index"] == index), 0)
        source = answer.get_attr("RTA_PREFSRC")
        route = Route("", self._names.get(index, ""), index, int(mtu), parse_ip(source) if source else b"")
        with contextlib.suppress(OSError):
            entry = self._netlink.ask(_RTM_GETROUTE, messages().route, {**fields, "flags": _FIB_MATCH}, attributes)
            route.matched = int(entry["dst_len"])
        return route


def host_in(prefix: Prefix) -> bytes:
    """An address that may be a host's: the first of the prefix, or one of many in the world for a default route."""
    ip, cidr = prefix
    if not cidr:
        return parse_ip("192.0.2.1" if len(ip) == V4_LEN else "2001:db8::1")
    if cidr >= len(ip) * 8 - 1:
        return ip
    host = (int.from_bytes(ip, "big") + 1).to_bytes(len(ip), "big")
    return bytes([64, *host[1:]]) if len(ip) == V4_LEN and not host[0] else host


def rules(unseen: list[str]) -> Rules:
    """The rules of nftables, with those that iptables makes of it; empty where there are none."""
    program = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    for tables, shown in (("ip", "iptables"), ("ip6", "ip6tables")):
        if names := _legacy_tables(tables):
            text = f"the rules of {shown}-legacy are not looked at, and may drop: {shown}-legacy-save (tables: {names})"
            unseen.append(text)
    if program is None:
        unseen.append("the packet filter is not looked at, as there is no `nft`: apt-get install nftables")
        return []
    try:
        done = subprocess.run(
            [program, "--json", "--numeric-protocol", "list", "ruleset"],
            capture_output=True,
            timeout=_NFT_WITHIN_S,
            check=False,
        )
        if done.returncode == 0:
            listed: list[dict[str, Any]] = json.loads(done.stdout or b"{}").get("nftables", [])
            return listed
        why = done.stderr.decode(errors="replace").strip().partition("\n")[0] or f"status {done.returncode}"
    except (OSError, subprocess.TimeoutExpired, ValueError, AttributeError) as error:
        why = str(error)
    unseen.append(f"the packet filter could not be looked at: {why}")
    return []


def _legacy_tables(family: str) -> str:
    """The tables of the older iptables, which nft does not list; empty for none."""
    with contextlib.suppress(OSError):
        return ", ".join(sorted(Path(f"/proc/thread-self/net/{family}_tables_names").read_text().split()))
    return ""


def port_holder(port: int, daemon_pid: int) -> str:
    """What has a UDP port here: a program and its PID, or "another program"; empty for none, or the daemon itself."""
    inodes = set()
    for table in ("udp", "udp6"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            for row in Path("/proc/thread-self/net", table).read_text().splitlines()[1:]:
                fields = row.split()
                if int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(fields[9])
    if not inodes:
        return ""
    pid = _holder_of({f"socket:[{inode}]" for inode in inodes})
    if pid is None:
        return "" if daemon_pid else "another program"
    if pid == daemon_pid:
        return ""
    with contextlib.suppress(OSError):
        return f"{Path('/proc', str(pid), 'comm').read_text().strip()} (PID {pid})"
    return "another program"


def _holder_of(sockets: set[str]) -> int | None:
    for name in filter(re.compile(r"[0-9]+").fullmatch, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            for fd in os.scandir(f"/proc/{name}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(fd.path) in sockets:
                        return int(name)
    return None


def rp_filters(names: Iterable[str]) -> dict[str, int]:
    """The kernel takes the larger of `all` and the interface's own."""
    everywhere = number("net/ipv4/conf/all/rp_filter") or 0
    found = {}
    for name in names:
        if name and "/" not in name and (own := number(f"net/ipv4/conf/{name}/rp_filter")) is not None:
            found[name] = max(everywhere, own)
    return found


def _local(prefix: Prefix) -> bool:
    """Link-local addresses of IPv6 are on every interface, and nobody's network."""
    return len(prefix[0]) != V4_LEN and prefix[0][0] == 0xFE and prefix[0][1] & 0xC0 == 0x80
