"""What `pywg doctor` knows before it judges: plain data, so that judging needs no machine that is broken in that way.

None means "could not be seen" throughout. Addresses are packed, 4 or 16 bytes. No fact has a secret.
"""

from dataclasses import dataclass, field

from pywg.config.model import Prefix, SockAddr

OVERHEAD_V4 = 60
OVERHEAD_V6 = 80
"""Bytes that a datagram of the tunnel has besides the packet: IP, UDP, and WireGuard's header and tag."""


@dataclass(slots=True)
class Machine:
    """This host, whatever tunnels it has."""

    net_admin: bool = True
    """whether this process may configure networks"""
    tun_fault: str = ""
    """why /dev/net/tun can't be opened; empty when it can"""
    tun_mend: str = ""
    kernel: str = ""
    offloads: dict[str, str] = field(default_factory=dict)
    """as pywg.runtime.selfbench.offloads: yes, no, not permitted, or why it is unknown"""
    wall: float = 0.0
    """seconds since the epoch"""
    clock_synchronized: bool | None = None
    fast_ciphers: list[str] | None = None
    """batch kernels that this processor can run"""
    ip_forward: dict[int, bool] = field(default_factory=dict)
    """by IP version, where the kernel has it"""


@dataclass(slots=True)
class Link:
    """The tunnel's interface in this network namespace."""

    index: int
    kind: str
    """as `ip -details link` names it: tun, wireguard, ..."""
    up: bool
    mtu: int
    addresses: list[Prefix] = field(default_factory=list)
    """with host bits"""


@dataclass(slots=True)
class PeerFacts:
    """One peer, as the daemon has it; as the file has it where no daemon runs."""

    name: str
    """as findings name it"""
    public_key: bytes
    allowed_ips: list[Prefix] = field(default_factory=list)
    host: str = ""
    """of the file's endpoint, when that is a name"""
    resolve_fault: str = ""
    """why that name has no address"""
    endpoint: SockAddr | None = None
    keepalive: int = 0
    handshake_at: float = 0.0
    """wall clock; 0: never"""
    tx_bytes: int = 0
    rx_bytes: int = 0
    unanswered: int = 0
    """initiations since the last handshake"""
    trouble: str = ""
    """why there is no handshake, in the words of the daemon's log"""


@dataclass(slots=True)
class Running:
    """What answers for the interface."""

    program: str
    pid: int
    stats: dict[str, str]
    """of `pywg stats`; empty for another program than pywg"""
    listen_port: int = 0
    fwmark: int = 0
    private_key_set: bool | None = None
    in_program: bool = False
    """served by a thread of a program that does other things too (docs/python.md)"""
    companion: bool | None = None
    """whether one runs beside it"""
    own_folder: str = ""
    """of the daemon's socket, where `wg` does not look for it; empty where it does"""
    peers: list[PeerFacts] = field(default_factory=list)


@dataclass(slots=True)
class FileFacts:
    """The configuration file."""

    path: str
    errors: list[str] = field(default_factory=list)
    """each in one line; with errors, nothing else here is known"""
    faults: list[str] = field(default_factory=list)
    """what can't work, of what can be read"""
    warnings: list[str] = field(default_factory=list)
    addresses: list[Prefix] = field(default_factory=list)
    listen_port: int = 0
    fwmark: int | None = None
    mtu: int | None = None
    table: str = "auto"
    private_key_set: bool = False
    own_key: bytes | None = None
    """the public one"""
    peers: list[PeerFacts] = field(default_factory=list)
    wants_companion: bool = False
    dns: dict[str, str] = field(default_factory=dict)
    """a server's address -> why it doesn't answer; empty when it does"""


@dataclass(slots=True)
class Route:
    """Where the kernel sends a packet."""

    fault: str = ""
    """why there is none"""
    interface: str = ""
    index: int = 0
    mtu: int = 0
    source: bytes = b""
    matched: int | None = None
    """length of the prefix that the table has"""


@dataclass(slots=True)
class Path:
    """The way to an endpoint, outside the tunnel."""

    route: Route
    refusal: str = ""
    """why a datagram can't leave, or what was answered to it"""
    refused_here: bool = False
    """the refusal is this host's own, and not the network's"""
    mtu: int = 0
    """largest IP packet that a probe with DF found to pass; 0: not known"""
    mtu_from: str = ""
    """how it is known, in words"""


@dataclass(slots=True)
class Verdict:
    """What the packet filter does with a datagram."""

    drops: bool
    certain: bool = True
    rule: str = ""
    """which rule or policy, in words"""
    chain: str = ""
    """FAMILY TABLE CHAIN, as nft takes it"""
    packets: int | None = None
    """of the rule's counter"""


@dataclass(slots=True)
class Filtered:
    """The packet filter's verdicts about one endpoint; None: not asked, or no rules are there."""

    outgoing: Verdict | None = None
    incoming: Verdict | None = None
    """what begins there"""
    answers: Verdict | None = None
    """what answers something that we sent"""
    forwarded: Verdict | None = None
    """from the tunnel to other interfaces"""


@dataclass(slots=True)
class Network:
    """The network namespace that doctor runs in, as far as the tunnel is concerned."""

    paths: dict[SockAddr, Path] = field(default_factory=dict)
    routes: dict[Prefix, Route] = field(default_factory=dict)
    """of a host in each allowed IP"""
    others: list[tuple[str, Prefix]] = field(default_factory=list)
    """(interface, network) of the connected networks but the tunnel's"""
    filtered: dict[SockAddr, Filtered] = field(default_factory=dict)
    port_holder: str = ""
    """the program that has the tunnel's port, when that isn't the tunnel's daemon"""
    rp_filter: dict[str, int] = field(default_factory=dict)
    """by interface, as the kernel uses it: the larger of `all` and its own"""
    src_valid_mark: bool | None = None


@dataclass(slots=True)
class Facts:
    """All of them."""

    machine: Machine
    interface: str = ""
    """empty: only the machine is looked at"""
    kernels: bool = False
    """the interface is the kernel's own WireGuard"""
    answer_fault: str = ""
    """why the daemon does not say what it knows"""
    link: Link | None = None
    running: Running | None = None
    file: FileFacts | None = None
    network: Network = field(default_factory=Network)
    unseen: list[str] = field(default_factory=list)
    """what could not be seen, and why, in one line each"""

    @property
    def peers(self) -> list[PeerFacts]:
        """Those of the daemon, else those of the file."""
        if self.running is not None:
            return self.running.peers
        return self.file.peers if self.file is not None else []

    @property
    def listen_port(self) -> int:
        """The one that is in use, else the file's; 0: none is fixed."""
        if self.running is not None:
            return self.running.listen_port
        return self.file.listen_port if self.file is not None else 0

    @property
    def fwmark(self) -> int:
        """The mark of what the daemon sends, else the file's."""
        if self.running is not None:
            return self.running.fwmark
        return (self.file.fwmark or 0) if self.file is not None else 0
