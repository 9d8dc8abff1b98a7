"""The program that chooses a flow's queue: by an oracle of its own, as the kernel runs it, and on a TUN."""

import ctypes
import errno
import os
import select
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywg.runtime.base import ebpf
from pywg.runtime.confine import calls
from pywg.runtime.net import tun_steering
from pywg.runtime.net.tun import Tun, open_tun
from pywg.runtime.net.tun_steering import keep_flows
from tests.descriptors import own_descriptors
from tests.requirements import require_root, require_tool
from tests.runtime.namespace import as_user, ip, run_inside

GOLDEN = 11400714819323198485
WITH_PORTS = {6, 17, 33, 132, 136}
OTHERS = {0, 1, 43, 44, 47, 50, 58, 60, 89}
NOBODY = 65534
ETHERNET = bytes(12) + b"\x88\xb5"
"""Of a local experiment: the kernel looks into no such packet by itself."""
PROG_TEST_RUN = 10


def mixed(value: int) -> int:
    product = value * GOLDEN % 2**64
    return product ^ product >> 32


def chosen(packet: bytes) -> int:
    """What the program is to return."""
    version, least = packet[0] >> 4, {4: 20, 6: 40}
    if version not in least or len(packet) < least[version]:
        return 0
    if version == 4:
        addresses, protocol, ports_at = packet[12:20], packet[9], 4 * (packet[0] % 16)
        fragment = int.from_bytes(packet[6:8]) % 2**14 > 0
    else:
        addresses, protocol, ports_at, fragment = packet[8:40], packet[6], 40, False
    value = 0
    for at in range(0, len(addresses), 8):
        value = mixed(value ^ int.from_bytes(addresses[at : at + 8]))
    if protocol in WITH_PORTS and not fragment:
        if len(packet) < ports_at + 4:
            return 0
        value ^= int.from_bytes(packet[ports_at : ports_at + 4])
    return mixed(value) * GOLDEN % 2**64 >> 48


def ipv4(
    source: str, target: str, ports: tuple[int, int] = (1000, 2000), *, protocol: int = 17, fragment: int = 0
) -> bytes:
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    return struct.pack("!BBHHHBBH", 0x45, 0, 28, 0, fragment, 64, protocol, 0) + ends + struct.pack("!4H", *ports, 8, 0)


def ipv6(
    source: str, target: str, ports: tuple[int, int] = (1000, 2000), *, protocol: int = 17, label: int = 0
) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    return struct.pack("!IHBB", 6 << 28 | label, 8, protocol, 64) + ends + struct.pack("!4H", *ports, 8, 0)


@pytest.fixture(scope="module")
def program() -> Iterator[int]:
    require_root()
    fd = tun_steering.load()
    yield fd
    os.close(fd)


def returned(program: int, packet: bytes) -> int:
    """By the kernel's own run of it. It takes an Ethernet header off, and the program begins behind that."""
    data = ctypes.create_string_buffer(ETHERNET + packet, len(ETHERNET) + len(packet))
    packed = struct.pack("=IIIIQQII", program, 0, len(data), 0, ctypes.addressof(data), 0, 0, 0)
    attributes = ctypes.create_string_buffer(packed, len(packed))
    ebpf.call(PROG_TEST_RUN, attributes)
    result: int = struct.unpack_from("=I", attributes, 4)[0]
    return result


def shaped(data: bytes, first: int, protocol: int, fragment: int) -> bytes:
    """These bytes, so that most have a header of IP: whatever is behind the end is left out."""
    whole = bytearray(data)
    for at, value in {0: first, 6: protocol if first >> 4 == 6 else fragment, 7: 0, 9: protocol}.items():
        whole[at : at + 1] = bytes([value]) if at < len(data) else b""
    return bytes(whole)


PACKETS = st.builds(
    shaped,
    st.binary(min_size=1, max_size=100),
    st.sampled_from([0x45, 0x46, 0x4F, 0x40, 0x44, 0x60, 0x6F, 0x00, 0x50]),
    st.sampled_from(sorted(WITH_PORTS | OTHERS)) | st.integers(0, 255),
    st.sampled_from([0, 0x40, 0x80, 0x20, 0x01]),
)


@given(packet=PACKETS)
def test_the_kernel_returns_what_the_oracle_says(program: int, packet: bytes) -> None:
    assert returned(program, packet) == chosen(packet)


@given(data=st.binary(min_size=1, max_size=100))
def test_any_bytes(program: int, data: bytes) -> None:
    assert returned(program, data) == chosen(data)


def test_what_a_flow_is(program: int) -> None:
    """What the kernel's run returns for a flow is one number, and another for another flow."""

    def hashes(*packets: bytes) -> set[int]:
        return {returned(program, packet) for packet in packets}

    udp, longer = ipv4("10.0.0.1", "10.0.0.2"), ipv4("10.0.0.1", "10.0.0.2") + bytes(900)
    assert len(hashes(udp, longer)) == 1
    assert len(hashes(udp, ipv4("10.0.0.1", "10.0.0.2", (1000, 2001)), ipv4("10.0.0.1", "10.0.0.3"))) == 3
    first, second = (ipv4("10.0.0.1", "10.0.0.2", fragment=bits) for bits in (0x2000, 0x2001))
    last = ipv4("10.0.0.1", "10.0.0.2", (7, 8), fragment=2)
    ping = ipv4("10.0.0.1", "10.0.0.2", (9, 9), protocol=1)
    assert len(hashes(first, second, last, ping)) == 1
    assert len(hashes(first, udp)) == 2
    assert len(hashes(udp, ipv4("10.0.0.1", "10.0.0.2", fragment=0x4000))) == 1, "DF makes no fragment"
    six = ipv6("fd00::1", "fd00::2")
    assert len(hashes(six, ipv6("fd00::1", "fd00::2", label=77))) == 1
    assert len(hashes(six, ipv6("fd00::1", "fd00::2", (1001, 2000)), ipv6("fd00::1", "fd00::3"))) == 3
    extended = [ipv6("fd00::1", "fd00::2", (number, 0), protocol=header) for number, header in enumerate((0, 44, 60))]
    assert len(hashes(*extended)) == 1
    assert hashes(b"\x00" * 40, b"\x45", udp[:19], udp[:23], six[:39], six[:43]) == {0}


NEIGHBOURS: dict[str, Callable[[int], bytes]] = {
    "source ports": lambda n: ipv4("10.0.0.1", "10.0.0.2", (1000 + n, 443)),
    "even source ports": lambda n: ipv4("10.0.0.1", "10.0.0.2", (32768 + 2 * n, 443)),
    "target ports": lambda n: ipv4("10.0.0.1", "10.0.0.2", (1000, 5000 + n)),
    "both ports": lambda n: ipv4("10.0.0.1", "10.0.0.2", (5000 + n, 5000 + n)),
    "source addresses": lambda n: ipv4(f"10.0.{n >> 8}.{n & 255}", "10.1.0.1"),
    "target addresses": lambda n: ipv4("10.1.0.1", f"10.0.{n >> 8}.{n & 255}"),
    "addresses of pings": lambda n: ipv4("10.1.0.1", f"10.0.{n >> 8}.{n & 255}", protocol=1),
    "sites": lambda n: ipv4(f"10.{n & 255}.{n >> 8}.1", "10.255.0.1"),
    "ports of IPv6": lambda n: ipv6("fd00::1", "fd00::2", (1000 + n, 443)),
    "addresses of IPv6": lambda n: ipv6("fd00::1", f"fd00::{n:x}", protocol=58),
    "networks of IPv6": lambda n: ipv6(f"fd00:0:0:{n:x}::1", "fd00::1"),
}


@pytest.mark.parametrize("queues", [2, 4, 8])
@pytest.mark.parametrize("what", NEIGHBOURS)
def test_neighbours_spread(what: str, queues: int) -> None:
    """No queue has a fourth more of 1024 than its share, nor a fourth less; and 8 a queue leave none empty."""
    found = Counter(chosen(NEIGHBOURS[what](number)) % queues for number in range(1024))
    assert all(abs(found[queue] * queues - 1024) < 256 for queue in range(queues)), found
    few = {chosen(NEIGHBOURS[what](number)) % queues for number in range(8 * queues)}
    assert few == set(range(queues))


def inside(test: Callable[[Tun], None], queues: int) -> None:
    """With a TUN that is up, and no descriptor left."""
    require_root()
    require_tool("ip")

    def run() -> None:
        before = own_descriptors(settled=True)
        made = open_tun("wg0", queues=queues)
        ip("address", "add", "10.9.0.1/24", "dev", "wg0")
        ip("link", "set", "wg0", "up")
        try:
            test(made)
        finally:
            made.close()
        assert own_descriptors() == before

    run_inside(run)


def came(tun: Tun, packet: Callable[[bytes], bool]) -> tuple[int, bytes]:
    """The number of the queue that gives such a packet, and that. What comes besides is thrown away."""
    while ready := select.select(tun.fds, [], [], 20)[0]:
        for fd in ready:
            found = os.read(fd, 1 << 16)[tun.vnet_hdr_len :]
            if packet(found):
                return tun.fds.index(fd), found
    raise AssertionError("it did not come")


def sent(sender: socket.socket, tun: Tun, port: int, size: int = 8, *segments: tuple[int, int, bytes]) -> int:
    """The queue of a datagram to 10.9.0.2."""
    payload = os.urandom(size)
    sender.sendmsg([payload], segments, 0, ("10.9.0.2", port))
    return came(tun, lambda packet: packet.endswith(payload))[0]


@pytest.mark.netns
@pytest.mark.parametrize("steered", [False, True], ids=["the kernel's choice", "ours"])
def test_a_flow_keeps_its_queue_when_its_answers_come_by_another(steered: bool) -> None:
    """The kernel moves it then, which is the positive control."""

    def test(tun: Tun) -> None:
        if steered:
            keep_flows(tun.fd)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("10.9.0.1", 0))
            ours = sender.getsockname()[1]
            for port in range(1000, 1016):
                first = sent(sender, tun, port)
                answer = ipv4("10.9.0.2", "10.9.0.1", (port, ours))
                os.write(tun.fds[1 - first], bytes(tun.vnet_hdr_len) + answer)
                assert sent(sender, tun, port) == (first if steered else 1 - first)

    inside(test, queues=2)


@pytest.mark.netns
def test_superframes_go_where_the_flows_packets_go() -> None:
    def test(tun: Tun) -> None:
        assert tun.uso
        keep_flows(tun.fd)
        segment = (socket.IPPROTO_UDP, 103, struct.pack("=H", 500))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("10.9.0.1", 0))
            queues = [(sent(sender, tun, port), sent(sender, tun, port, 2000, segment)) for port in range(1000, 1032)]
        assert all(one == other for one, other in queues)
        assert len(set(queues)) > 1

    inside(test, queues=8)


@pytest.mark.netns
def test_on_an_interface_the_program_begins_where_the_header_does() -> None:
    """And with the same queue for whichever of its descriptors it was set."""
    packets = [
        *(NEIGHBOURS[what](number) for what in NEIGHBOURS for number in range(4)),
        ipv4("10.0.0.1", "10.0.0.2", fragment=0x2000),
        ipv6("fd00::1", "fd00::2", protocol=44),
        b"\x4f" + ipv4("10.0.0.1", "10.0.0.2")[1:20] + bytes(40) + b"\x01\x02\x03\x04\0\x08\0\0",
        b"\x00" * 28,
    ]

    def test(tun: Tun) -> None:
        keep_flows(tun.fds[5])
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            for packet in packets:
                kind = {4: 0x0800, 6: 0x86DD}.get(packet[0] >> 4, 0x88B5)
                sender.sendto(packet, ("wg0", kind))
                queue, _ = came(tun, packet.__eq__)
                assert queue == chosen(packet) % 8

    inside(test, queues=8)


def test_without_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int, *_: object) -> int:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(ebpf, "syscall", refuse)
    before = own_descriptors(settled=True)
    with pytest.raises(PermissionError):
        keep_flows(0)
    assert own_descriptors() == before


def test_what_is_no_tun_has_no_program_and_none_is_left() -> None:
    require_root()
    before = own_descriptors(settled=True)
    with open(os.devnull) as null, pytest.raises(OSError, match="Inappropriate ioctl"):
        keep_flows(null.fileno())
    assert own_descriptors() == before


def test_a_user_without_capabilities_is_told_so_unless_the_machine_lets() -> None:
    require_root()
    with open("/proc/sys/kernel/unprivileged_bpf_disabled") as setting:
        closed = setting.read().strip() != "0"

    def loads() -> bool:
        try:
            os.close(tun_steering.load())
        except PermissionError:
            return False
        return True

    assert as_user(0, loads)
    assert as_user(NOBODY, loads) != closed


def test_numbers_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ebpf._NUMBERS["x86_64"] == calls.numbers(calls.X86_64)["bpf"]
    assert ebpf._NUMBERS["aarch64"] == calls.numbers(calls.AARCH64)["bpf"]
    monkeypatch.setattr(ebpf, "_NUMBERS", {})
    with pytest.raises(OSError, match="not implemented") as caught:
        tun_steering.load()
    assert caught.value.errno == errno.ENOSYS
