"""Any configuration there can be, for hypothesis."""

from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from pywg.config import quick_names, wg_quick
from pywg.config.model import AllowedIpChange, DeviceChange, DeviceStatus, PeerChange, PeerStatus
from pywg.config.quick_lines import SPACE

T = TypeVar("T")

MAPPED = bytes(10) + b"\xff\xff"

keys = st.binary(min_size=32, max_size=32)
ports = st.integers(0, 65535)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
v4 = st.binary(min_size=4, max_size=4)
v6 = st.binary(min_size=16, max_size=16)
# A mapped address is read as the IPv4 address it means: a test of its own.
sock_addrs = st.one_of(
    st.tuples(v4, ports, st.just(0)),
    st.tuples(v6.filter(lambda ip: not ip.startswith(MAPPED)), ports, st.integers(0, 2**32 - 1)),
)


def _without_host_bits(ip: bytes, cidr: int) -> tuple[bytes, int]:
    host_bits = len(ip) * 8 - cidr
    return (int.from_bytes(ip, "big") >> host_bits << host_bits).to_bytes(len(ip), "big"), cidr


addresses_with_length = st.one_of(st.tuples(v4, st.integers(0, 32)), st.tuples(v6, st.integers(0, 128)))
prefixes = addresses_with_length.map(lambda prefix: _without_host_bits(*prefix))


def optional(strategy: SearchStrategy[T]) -> SearchStrategy[T | None]:
    return st.none() | strategy


allowed_ip_changes = st.tuples(prefixes, st.booleans()).map(lambda it: AllowedIpChange(*it[0], remove=it[1]))

peer_changes = st.builds(
    PeerChange,
    public_key=keys,
    remove=st.booleans(),
    update_only=st.booleans(),
    preshared_key=optional(keys),
    clear_endpoint=st.booleans(),
    endpoint=optional(sock_addrs),
    probe_endpoint=optional(sock_addrs),
    persistent_keepalive=optional(ports),
    replace_allowed_ips=st.booleans(),
    allowed_ips=st.lists(allowed_ip_changes, max_size=5),
)
device_changes = st.builds(
    DeviceChange,
    private_key=optional(keys),
    listen_port=optional(ports),
    fwmark=optional(u32),
    replace_peers=st.booleans(),
    peers=st.lists(peer_changes, max_size=4),
)

peer_statuses = st.builds(
    PeerStatus,
    public_key=keys,
    preshared_key=keys,
    endpoint=optional(sock_addrs),
    last_handshake_ns=st.integers(0, 2**63 - 1),
    tx_bytes=u64,
    rx_bytes=u64,
    persistent_keepalive=ports,
    allowed_ips=st.lists(prefixes, max_size=5),
)
device_statuses = st.builds(
    DeviceStatus,
    private_key=optional(keys.filter(any)),
    listen_port=ports,
    fwmark=u32,
    peers=st.lists(peer_statuses, max_size=4),
)

_line_text = st.characters(codec="utf-8", exclude_characters="#\n\0")
words = st.text(_line_text, min_size=1, max_size=20).filter(lambda text: not set(text) & set(f"{SPACE},"))
commands = st.lists(
    st.text(_line_text, min_size=1, max_size=30).filter(lambda text: text == text.strip(SPACE)), max_size=2
)
names = st.text(max_size=80).map(quick_names.clean)
hosts = st.one_of(
    st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True),
    st.ip_addresses().map(str),
)

interface_sections = st.builds(
    wg_quick.InterfaceSection,
    private_key=optional(keys),
    listen_port=optional(ports),
    fwmark=optional(u32),
    addresses=st.lists(addresses_with_length, max_size=3),
    dns=st.lists(words, max_size=3),
    mtu=optional(st.integers(68, 65535)),
    table=optional(words),
    pre_up=commands,
    post_up=commands,
    pre_down=commands,
    post_down=commands,
    save_config=st.booleans(),
    name=names,
)
peer_sections = st.builds(
    wg_quick.PeerSection,
    public_key=keys,
    preshared_key=optional(keys),
    allowed_ips=st.lists(prefixes, max_size=4),
    endpoint=optional(st.tuples(hosts, ports)),
    persistent_keepalive=optional(ports),
    name=names,
)
wg_quick_configs = st.builds(
    wg_quick.WgQuickConfig, interface=interface_sections, peers=st.lists(peer_sections, max_size=3)
)
