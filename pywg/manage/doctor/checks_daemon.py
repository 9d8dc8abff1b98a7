"""Checks of what serves the interface, and of the interface: daemon, state, addresses, MTU, port, sandbox, drops."""

from collections.abc import Iterator
from typing import Final

from pywg.config.addresses import V6_LEN, format_ip, format_prefix, mask
from pywg.manage import reasons
from pywg.manage.doctor.facts import Facts
from pywg.manage.doctor.finding import Finding, error, note, ok, warning
from pywg.runtime.base.in_use import DIRECTORY

_MIN_MTU_V6: Final = 1280
_SANDBOX: Final = ("sandbox_seccomp", "sandbox_seccomp_threads", "sandbox_no_new_privs")

_SANDBOX_MEND: Final = "start it without --no-sandbox and PYWG_SANDBOX=0; old kernels lack parts of it"

_MANY: Final = 100
_SHARE: Final = 0.01
"""Of what passes: a loss of one in a hundred is felt by TCP."""
_OF: Final = {"tx": "tx_packets", "rx": "rx_datagrams"}
"""What passed, beside which a counter of losses is seen."""
_NOT_LOSSES: Final = ("rx_bad_mac1", "rx_malformed", "rx_truncated", "rx_unknown_index", "rx_bad_cookie_reply")
"""Of strangers, who may send as much as they like."""


def daemon(facts: Facts) -> Iterator[Finding]:
    """A pywg serves it."""
    name = facts.interface
    start = f"pywg up {facts.file.path}" if facts.file is not None else f"pywg up {name}"
    if facts.kernels:
        text = f"{name} is the kernel's own WireGuard, and not pywg: what follows about it is what anyone can see"
        yield note("daemon", text, f"wg-quick down {name}; {start}")
    elif facts.running is not None and facts.running.stats:
        pid = f", PID {facts.running.pid}" if facts.running.pid else ""
        yield ok("daemon", f"pywg serves {name}{pid}")
        if facts.running.own_folder:
            text = (
                f"`wg` does not reach this {name}, as another network namespace had that name first: it asks that one"
            )
            own = f"mount --bind {facts.running.own_folder} {DIRECTORY} && wg show {name}"
            yield note("wg", text, f"pywg show {name}; for wg itself: unshare --mount sh -c '{own}'")
    elif facts.running is not None:
        what = facts.running.program or "another program"
        yield note("daemon", f"{name} is served by {what}, which is not pywg: it has no statistics to look at")
    elif facts.answer_fault:
        yield warning("daemon", f"the daemon of {name} can't be asked: {facts.answer_fault}", "run doctor as root")
    elif facts.link is not None:
        kind = f" (of kind {facts.link.kind})" if facts.link.kind else ""
        text = f"there is an interface {name}{kind}, and no daemon answers for it"
        yield error("daemon", text, f"ip -details link show {name}, then ip link delete {name} and {start}")
    else:
        yield error("daemon", f"{name} does not run", start)


def key(facts: Facts) -> Iterator[Finding]:
    """There is a private key."""
    running = facts.running
    if running is not None and running.private_key_set is False:
        yield error(
            "key", "no private key is set: there can be no handshake", f"wg set {facts.interface} private-key FILE"
        )
    if running is None and facts.file is not None and not facts.file.errors and not facts.file.private_key_set:
        yield error("key", "the file has no PrivateKey", "PrivateKey = ... below [Interface]; `pywg genkey` makes one")


def peers(facts: Facts) -> Iterator[Finding]:
    """There is a peer at all."""
    if (facts.running is not None or (facts.file is not None and not facts.file.errors)) and not facts.peers:
        mend = f"wg set {facts.interface} peer KEY allowed-ips ..., or a [Peer] in the file and `pywg reload`"
        yield error("peers", f"{facts.interface} has no peer", mend)


def interface(facts: Facts) -> Iterator[Finding]:
    """The interface is up and has an address."""
    if facts.link is None:
        if facts.running is not None:
            text = (
                f"{facts.interface} is in another network namespace, or its daemon lost it: nothing of it is seen here"
            )
            yield note("interface", text, "ip netns list; then `ip netns exec NAME pywg doctor ...`")
        return
    name = facts.interface
    if not facts.link.up:
        yield error("interface", f"{name} is down: nothing is sent or received", f"ip link set {name} up")
    if not facts.link.addresses:
        wanted = [format_prefix(one) for one in facts.file.addresses] if facts.file is not None else []
        text = f"{name} has no address: this host has nothing to send from"
        yield error("address", text, f"ip address add {wanted[0] if wanted else 'ADDRESS/LENGTH'} dev {name}")
    if facts.link.up and facts.link.addresses:
        yield ok("interface", f"{name} is up, with {', '.join(map(format_prefix, facts.link.addresses))}")
    if facts.file is not None:
        for one in facts.file.addresses:
            if facts.link.addresses and one not in facts.link.addresses:
                text = f"{name} lacks the file's address {format_prefix(one)}"
                yield warning("address", text, f"ip address add {format_prefix(one)} dev {name}")


def ipv6_mtu(facts: Facts) -> Iterator[Finding]:
    """IPv6 needs an MTU of 1280."""
    in_file = facts.file.mtu if facts.file is not None else None
    mtu = facts.link.mtu if facts.link is not None else in_file
    if mtu is None or mtu >= _MIN_MTU_V6:
        return
    addresses = list(facts.link.addresses) if facts.link is not None else []
    addresses += facts.file.addresses if facts.file is not None else []
    if any(len(ip) == V6_LEN for ip, _ in addresses + [prefix for peer in facts.peers for prefix in peer.allowed_ips]):
        text = f"the MTU {mtu} is below 1280: IPv6 does not work on {facts.interface}"
        yield error(
            "mtu-ipv6", text, f"ip link set {facts.interface} mtu {_MIN_MTU_V6}, and MTU = {_MIN_MTU_V6} in the file"
        )


def port(facts: Facts) -> Iterator[Finding]:
    """The daemon has its port, and it is the file's."""
    name, stats = facts.interface, facts.running.stats if facts.running is not None else {}
    holder, number = facts.network.port_holder, facts.listen_port
    if stats.get("up") == "1" and stats.get("sockets_open") == "0":
        text = f"UDP port {number} can't be had{f': {holder} has it' if holder else ''}"
        yield error("port", text, f"end that program, or choose another: wg set {name} listen-port PORT")
    elif facts.running is None and holder and number:
        text = f"UDP port {number}, which the file wants, is taken: {holder} has it"
        yield error("port", text, "end that program, or choose another ListenPort, here and in the peers' Endpoint")
    in_file = facts.file.listen_port if facts.file is not None else 0
    if facts.running is not None and in_file and in_file != facts.running.listen_port:
        text = f"{name} listens on port {facts.running.listen_port}, and the file says {in_file}"
        yield warning("port", text, f"wg set {name} listen-port {in_file}")
    elif stats.get("sockets_open") == "1":
        yield ok("port", f"listens on UDP port {number}")


def sandbox(facts: Facts) -> Iterator[Finding]:
    """The daemon has given up what it does not need."""
    stats = facts.running.stats if facts.running is not None else {}
    off = [name.removeprefix("sandbox_") for name in _SANDBOX if stats.get(name) == "0"]
    if off and facts.running is not None and facts.running.in_program:
        what = facts.running.program or "a program"
        text = f"{what} (PID {facts.running.pid}) serves {facts.interface} itself, in less of a sandbox than a daemon"
        mend = "where that matters more than a fast start: pywg.Tunnel(..., daemon=True), docs/python.md"
        yield note("sandbox", text, mend)
    elif off:
        text = f"the sandbox is off or not whole (without {', '.join(off)}): a fault in pywg could take over this host"
        yield warning("sandbox", text, _SANDBOX_MEND)
    elif any(name in stats for name in _SANDBOX):
        yield ok("sandbox", "the sandbox is on")
    refused = stats.get("sandbox_refused", "0")
    if refused.isdecimal() and int(refused):
        text = f"the sandbox has refused {refused} system calls: the log names them"
        yield warning("sandbox", text, f"journalctl -t pywg, and report it; pywg run --no-sandbox {facts.interface}")
    if stats.get("secrets_locked") == "0":
        text = "keys may be written to swap space: memory can't be locked"
        yield warning("secrets", text, "start it as root, or with `ulimit -l unlimited` (LimitMEMLOCK=infinity)")


def companion(facts: Facts) -> Iterator[Finding]:
    """One runs, where the file asks for it."""
    if facts.file is None or not facts.file.wants_companion or facts.running is None or not facts.running.stats:
        return
    if facts.running.companion is False:
        text = "the file asks for a companion, and none runs: endpoints are not asked for again, no hook runs"
        unit = f"where the unit pywg@{facts.interface} runs it, systemctl enable --now pywg-companion@{facts.interface}"
        yield warning("companion", text, f"pywg reload {facts.file.path}; {unit}")
    elif facts.running.companion:
        yield ok("companion", "the companion that the file asks for runs")


def drops(facts: Facts) -> Iterator[Finding]:
    """Little is lost or refused, of what passes."""
    stats = facts.running.stats if facts.running is not None else {}
    for drop in reasons.drops(stats):
        passed = _counter(stats, _OF.get(drop.name.partition("_")[0], ""))
        if drop.name not in _NOT_LOSSES and passed and drop.times >= max(_MANY, _SHARE * passed):
            yield warning(
                "drops", f"{drop.times}, beside {passed} that passed: {drop.reason.meaning}", drop.reason.hint
            )


def _counter(stats: dict[str, str], name: str) -> int:
    value = stats.get(f"counter_{name}", "0")
    return int(value) if value.isdecimal() else 0


def dns(facts: Facts) -> Iterator[Finding]:
    """The name servers of the file answer."""
    for server, fault in (facts.file.dns if facts.file is not None else {}).items():
        if fault:
            text = f"the DNS server {server} of the file does not answer: {fault}"
            yield warning("dns", text, f"ping {server}: is it among the AllowedIPs of a peer, and does it run there?")
        else:
            yield ok("dns", f"the DNS server {server} answers")


def file(facts: Facts) -> Iterator[Finding]:
    """The file says what can be done."""
    if facts.file is None:
        return
    for text in (*facts.file.errors, *facts.file.faults):
        yield error("file", text, f"edit {facts.file.path}")
    for text in facts.file.warnings:
        yield warning("file", text, f"edit {facts.file.path}")
    if not facts.file.errors and not facts.file.faults and not facts.file.warnings:
        yield ok("file", f"{facts.file.path} can be read")


def differences(facts: Facts) -> Iterator[Finding]:
    """The daemon has what the file says."""
    if facts.file is None or facts.file.errors or facts.running is None:
        return
    have = {peer.public_key: peer for peer in facts.running.peers}
    for peer in facts.file.peers:
        mine = have.get(peer.public_key)
        if mine is None:
            text = f"the file has a peer that {facts.interface} lacks"
            yield warning("file-differs", text, f"pywg reload {facts.file.path}", peer=peer.name)
        elif set(mine.allowed_ips) != set(peer.allowed_ips):
            text = "the allowed IPs are not those of the file"
            yield warning("file-differs", text, f"pywg reload {facts.file.path}", peer=peer.name)


def tunnel_addresses(facts: Facts) -> Iterator[Finding]:
    """No peer has this host's own address."""
    link = facts.link.addresses if facts.link is not None else []
    for ip, _ in link or (facts.file.addresses if facts.file is not None else []):
        for peer in facts.peers:
            for net, cidr in peer.allowed_ips:
                if cidr == len(ip) * 8 and len(net) == len(ip) and mask(ip, cidr) == net:
                    text = f"its allowed IPs contain {format_ip(ip)}, which is this host's own address in the tunnel"
                    mend = "give each site an address of its own: Address and AllowedIPs are exchanged in the two files"
                    yield error("own-address", text, mend, peer=peer.name)
