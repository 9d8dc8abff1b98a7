"""All facts about one tunnel, or about the machine alone."""

import contextlib
import errno
import os

from pywg.config.addresses import V4_LEN, format_ip
from pywg.config.model import DeviceStatus, PeerTrouble, SockAddr
from pywg.errors import DeviceError
from pywg.manage import client
from pywg.manage.companion import process
from pywg.manage.doctor import gather_file, gather_machine, gather_network, gather_path
from pywg.manage.doctor.facts import OVERHEAD_V4, OVERHEAD_V6, Facts, FileFacts, Filtered, PeerFacts, Running
from pywg.manage.doctor.packet_filter import Packet, Rules, verdict
from pywg.manage.names import CONFIGURATIONS, configuration_of
from pywg.runtime.base.in_use import daemon_of, is_beside

DIRECTORY = CONFIGURATIONS
MOST_PATHS = 16
"""Endpoints that are tried."""
MOST_ROUTES = 512
"""Allowed IPs whose routes are asked for."""
_NOWHERE: SockAddr = (b"", 0, 0)


def gather(interface: str = "", path: str = "") -> Facts:
    """`interface` empty: the machine's facts alone. `path`: a file that has to be there; empty: NAME.conf, if it is.

    Raises DeviceError when the file can't be read, or the kernel has no rtnetlink for this process.
    """
    facts = Facts(gather_machine.gather(), interface)  # forks: before there is any thread
    if not interface:
        return facts
    facts.file = _file(interface, path, facts.unseen)
    try:
        kernel = gather_network.Kernel()
    except OSError as error:
        raise DeviceError(error.errno or errno.EIO, f"rtnetlink can't be asked: {error.strerror}") from error
    try:
        facts.link = kernel.link(interface)
        facts.kernels = facts.link is not None and facts.link.kind == "wireguard"
        if not facts.kernels:
            facts.running = _running(facts)
        _network(facts, kernel)
    finally:
        kernel.close()
    return facts


def _file(interface: str, path: str, unseen: list[str]) -> FileFacts | None:
    usual = configuration_of(interface, configurations=DIRECTORY)
    try:
        return gather_file.gather(path or usual)
    except FileNotFoundError as error:
        if path:
            raise DeviceError(errno.ENOENT, f"there is no {path}") from error
    except OSError as error:
        if path:
            raise DeviceError(error.errno or errno.EIO, f"{path} can't be read: {error.strerror}") from error
        unseen.append(f"{usual} can't be read: {error.strerror}")
    return None


def _running(facts: Facts) -> Running | None:
    name = facts.interface
    try:
        status, keys = client.watch(name)
    except DeviceError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            facts.answer_fault = "permission denied"
        elif error.errno not in (errno.ENOENT, errno.ECONNREFUSED):
            facts.answer_fault = error.strerror or str(error)
        return None
    daemon = daemon_of(name)
    running = Running(
        daemon.program if daemon is not None else "",
        daemon.pid if daemon is not None else 0,
        {},
        status.listen_port,
        status.fwmark,
        (status.private_key is not None and any(memoryview(status.private_key))) if keys else None,
        daemon is not None and bool(daemon.thread),
        process.runs(name),
        os.path.dirname(daemon.path) if daemon is not None and is_beside(daemon) else "",
    )
    status.private_key = None
    with contextlib.suppress(DeviceError):
        running.stats = client.stats(name)
    running.peers = _peers(status, facts.file)
    if running.stats:
        with contextlib.suppress(DeviceError):
            _tell_troubles(running.peers, client.troubles(name))
    return running


def _tell_troubles(peers: list[PeerFacts], troubles: list[PeerTrouble]) -> None:
    by_key = {one.public_key: one for one in troubles}
    for peer in peers:
        told = by_key.get(peer.public_key)
        peer.unanswered = told.initiations_unanswered if told is not None else 0
        peer.trouble = told.trouble if told is not None else ""


def _peers(status: DeviceStatus, file: FileFacts | None) -> list[PeerFacts]:
    in_file = {peer.public_key: peer for peer in file.peers} if file is not None else {}
    found = []
    for peer in status.peers:
        its = in_file.get(peer.public_key)
        found.append(
            PeerFacts(
                its.name if its is not None else gather_file.short(peer.public_key),
                peer.public_key,
                peer.allowed_ips,
                its.host if its is not None else "",
                its.resolve_fault if its is not None else "",
                peer.endpoint,
                peer.persistent_keepalive,
                peer.last_handshake_ns / 1e9,
                peer.tx_bytes,
                peer.rx_bytes,
                unanswered=-1,
            )
        )
    return found


def _network(facts: Facts, kernel: gather_network.Kernel) -> None:
    network, peers, mark = facts.network, facts.peers, facts.fwmark
    network.others = kernel.others(facts.interface)
    for prefix in [prefix for peer in peers for prefix in peer.allowed_ips][:MOST_ROUTES]:
        network.routes[prefix] = kernel.route(gather_network.host_in(prefix))
    places = list(dict.fromkeys(peer.endpoint for peer in peers if peer.endpoint is not None))
    if len(places) > MOST_PATHS:
        facts.unseen.append(f"of {len(places)} endpoints, the first {MOST_PATHS} were tried")
    ways = {place: kernel.route(place[0], mark=mark, scope_id=place[2]) for place in places[:MOST_PATHS]}
    network.paths = gather_path.gather(ways, mark, not_through=facts.link.index if facts.link is not None else 0)
    names = {route.interface for route in ways.values()} | {facts.interface}
    network.rp_filter = gather_network.rp_filters(names)
    network.src_valid_mark = bool(gather_machine.number("net/ipv4/conf/all/src_valid_mark"))
    if facts.listen_port:
        pid = facts.running.pid if facts.running is not None else 0
        listens = facts.running is not None and facts.running.stats.get("sockets_open", "1") == "1"
        network.port_holder = "" if listens else gather_network.port_holder(facts.listen_port, pid)
    if facts.machine.net_admin:
        _filter(facts, gather_network.rules(facts.unseen))
    else:
        facts.unseen.append("the packet filter could not be looked at: that needs root")
        if os.geteuid():
            facts.unseen.append("routes with a mark, and what a marked packet meets, could not be tried")


def _filter(facts: Facts, rules: Rules) -> None:
    """Asks the rules about each endpoint, and about any other source for peers without one."""
    places = list(facts.network.paths)
    if any(peer.endpoint is None for peer in facts.peers) or not places:
        places.append(_NOWHERE)
    port, mark = facts.listen_port or None, facts.fwmark
    for place in places:
        there = format_ip(place[0]) if place[0] else None
        version = 6 if len(place[0]) == 16 else 4
        path = facts.network.paths.get(place)
        link = path.route.interface or None if path is not None else None
        coming = Packet(version, there, None, place[1] or None, port, link, None, 0)
        going = Packet(version, None, there, port, place[1] or None, None, link, mark)
        from_tunnel = Packet(version, None, None, None, None, facts.interface, None, 0, udp=False)
        found = Filtered(
            outgoing=verdict(rules, going, ("output", "postrouting")),
            incoming=verdict(rules, coming, ("prerouting", "input")),
            answers=verdict(rules, coming._replace(state="established"), ("prerouting", "input")),
            forwarded=verdict(rules, from_tunnel, ("forward",)),
        )
        if any(one is not None for one in (found.outgoing, found.incoming, found.forwarded)):
            facts.network.filtered[place] = found


def outer_mtu(interface: str, endpoint: SockAddr | None) -> int:
    """The largest packet of the tunnel whose datagram fits the way to `endpoint` whole; 0: not known.

    Raises OSError.
    """
    if endpoint is None:
        return 0
    kernel = gather_network.Kernel()
    try:
        link = kernel.link(interface)
        status, _ = client.watch(interface)
        status.private_key = None
        route = kernel.route(endpoint[0], mark=status.fwmark, scope_id=endpoint[2])
        paths = gather_path.gather({endpoint: route}, status.fwmark, not_through=link.index if link is not None else 0)
    finally:
        kernel.close()
    mtu = paths[endpoint].mtu
    return mtu - (OVERHEAD_V4 if len(endpoint[0]) == V4_LEN else OVERHEAD_V6) if mtu else 0
