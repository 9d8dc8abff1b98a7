"""Roaming (paper section 6.5), and the local address that a peer spoke to."""

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle

import pytest

from tests.fastpath.packets import ACK, Tcp, cut, gso_vnet
from tests.fastpath.plane_harness import (
    Addr,
    Far,
    PlaneHarness,
    addr_of,
    handshake_message,
    raw_packet,
    reply,
    seal,
    udp_socket,
)

IP_RECVTOS = 13  # ip(7); not in the socket module
SO_TIMESTAMPNS, SO_TIMESTAMPING, SOF_TIMESTAMPING_SOFTWARE = 35, 37, 1 << 4
FAMILIES = [socket.AF_INET, socket.AF_INET6]


def loopback() -> int:
    return socket.if_nametoindex("lo")


def heard_from(sock: socket.socket, spoken_to: str) -> Addr:
    """What the plane should say of a peer that sent from `sock` to `spoken_to`."""
    host, port = sock.getsockname()[:2]
    family = sock.family
    return socket.inet_pton(family, host), port, 0, socket.inet_pton(family, spoken_to), loopback()


def is_at(harness: PlaneHarness, addr: Addr) -> None:
    """Until the plane says so of peer 1."""
    harness.until(lambda: harness.plane.endpoint(1) == addr, f"the peer is at {addr}, not {harness.plane.endpoint(1)}")


@pytest.fixture
def elsewhere() -> Iterator[list[socket.socket]]:
    """Another port, another address, another family: places where a peer may turn up."""
    socks = [
        udp_socket(socket.AF_INET, "127.0.0.1"),
        udp_socket(socket.AF_INET, "127.0.0.2"),
        udp_socket(socket.AF_INET6, "::1"),
    ]
    yield socks
    for sock in socks:
        sock.close()


@pytest.mark.dropin("16")
@pytest.mark.known_bug("Roams only on handshakes")
@pytest.mark.known_bug("IPv6 source addresses")
@pytest.mark.parametrize("text", [reply(1), b""], ids=["data", "keepalive"])
@pytest.mark.parametrize("place", [0, 1, 2], ids=["port", "address", "family"])
def test_authentic_packet_moves_the_endpoint(elsewhere: list[socket.socket], place: int, text: bytes) -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        far.send(reply(0))
        is_at(harness, heard_from(far.sock, far.plane_addr()[0]))
        far.sock.close()
        far.sock = elsewhere[place]
        far.send(text)
        is_at(harness, heard_from(far.sock, far.plane_addr()[0]))
        harness.write(raw_packet(60))
        assert far.receive() == far.expect(0, raw_packet(60))


@pytest.mark.dropin("16")
@pytest.mark.parametrize("place", [0, 1, 2], ids=["port", "address", "family"])
def test_authentic_handshake_message_moves_the_endpoint(elsewhere: list[socket.socket], place: int) -> None:
    """What is authentic, and no replay, the core says; where it came from, the plane said with the message."""
    with PlaneHarness() as harness:
        far = Far(harness)
        before = harness.plane.endpoint(1)
        far.sock.close()
        far.sock = elsewhere[place]
        far.send_datagram(handshake_message(1, 148))
        [(message, source)] = harness.received(1)
        assert harness.plane.endpoint(1) == before, "that it came is not enough"
        harness.plane.handshake_received(1, source, len(message))
        assert harness.plane.endpoint(1) == source == heard_from(far.sock, far.plane_addr()[0])
        harness.write(raw_packet(60))
        assert far.receive() == far.expect(0, raw_packet(60))


def test_one_that_is_held_is_moved_by_no_data_and_by_a_handshake(elsewhere: list[socket.socket]) -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        held = heard_from(far.sock, "127.0.0.1")
        harness.plane.set_endpoint(1, heard_from(elsewhere[1], "127.0.0.1"))
        harness.plane.hold_endpoint(1, held, 3600.0)
        assert harness.plane.endpoint(1) == held
        there, moved = far.sock, elsewhere[0]
        far.sock = moved
        far.send(reply(0))
        assert harness.read_packets() == [reply(0)], "it is delivered all the same"
        assert harness.plane.endpoint(1) == held
        harness.plane.handshake_received(1, heard_from(moved, "127.0.0.1"), 148)
        is_at(harness, heard_from(moved, "127.0.0.1"))
        far.sock = there
        far.send(reply(1))
        is_at(harness, held)
        harness.plane.hold_endpoint(1, held, 0.0)
        far.sock = moved
        far.send(reply(2))
        is_at(harness, heard_from(moved, "127.0.0.1"))


def test_a_message_to_elsewhere_leaves_the_endpoint_and_the_timers(elsewhere: list[socket.socket]) -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        far.send(reply(0))
        is_at(harness, heard_from(far.sock, "127.0.0.1"))
        assert harness.read(1) == [reply(0)]  # the timers know of it by then
        before = harness.plane.activity(1)
        sock = elsewhere[1]
        assert harness.plane.send_to_peer(
            1, b"a probe", (socket.inet_aton("127.0.0.2"), sock.getsockname()[1], 0, b"", 0)
        )
        sock.settimeout(30)
        assert sock.recv(100) == b"a probe"
        assert harness.plane.activity(1)[2:] == before[2:]
        is_at(harness, heard_from(far.sock, "127.0.0.1"))
        assert harness.plane.send_to_peer(1, b"an answer")
        assert far.receive() == b"an answer"


def test_peer_without_an_endpoint_gets_one() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.plane.set_endpoint(1, None)
        far.send(b"")
        is_at(harness, heard_from(far.sock, "127.0.0.1"))
        harness.plane.set_endpoint(1, None)
        harness.plane.handshake_received(1, heard_from(far.sock, "127.0.0.1"), 148)
        assert harness.plane.send_to_peer(1, b"an answer")
        assert far.receive() == b"an answer"


@pytest.mark.dropin("16")
@pytest.mark.known_bug("Roams on a cookie reply")
def test_only_authentic_packets_move_it(elsewhere: list[socket.socket]) -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        far.send(reply(0))
        is_at(harness, heard_from(far.sock, "127.0.0.1"))
        harness.plane.open_index(7, 1)
        moved, before = elsewhere[0], harness.plane.endpoint(1)
        replayed = far.message(reply(0), 0)
        forged = far.message(reply(0), 5)[:-1] + b"?"
        wrong_index = seal(far.send_key, far.local_index ^ 4, 6, b"")
        handshakes = [handshake_message(1, 148), handshake_message(2, 92, 7), handshake_message(3, 64, 7)]
        for datagram in (replayed, forged, wrong_index, b"", bytes(32), *handshakes):
            moved.sendto(datagram, far.plane_addr())
        harness.received(2)
        harness.dropped(6)
        assert harness.plane.endpoint(1) == before
        moved.sendto(far.message(b""), far.plane_addr())
        is_at(harness, heard_from(moved, "127.0.0.1"))


def test_expired_session_moves_nothing(elsewhere: list[socket.socket]) -> None:
    with PlaneHarness() as harness:
        far = Far(harness, age=200)
        before = harness.plane.endpoint(1)
        elsewhere[0].sendto(far.message(b""), far.plane_addr())
        harness.counted(rx_expired=1)
        assert harness.plane.endpoint(1) == before


def test_packet_from_a_foreign_inner_source_moves_it_all_the_same(elsewhere: list[socket.socket]) -> None:
    """It is authentic; the kernel's order is the same: endpoint first, then the allowed IPs."""
    with PlaneHarness() as harness:
        far = Far(harness)
        elsewhere[0].sendto(far.message(raw_packet(60)), far.plane_addr())
        is_at(harness, heard_from(elsewhere[0], "127.0.0.1"))
        harness.counted(rx_source_not_allowed=1)


@pytest.mark.known_bug("IPv6 source addresses")
@pytest.mark.parametrize("family", FAMILIES)
def test_endpoint_is_as_it_was_set(family: socket.AddressFamily) -> None:
    ip = socket.inet_pton(family, "192.0.2.7" if family == socket.AF_INET else "2001:db8::7")
    local = socket.inet_pton(family, "192.0.2.8" if family == socket.AF_INET else "2001:db8::8")
    with PlaneHarness() as harness:
        Far(harness)
        for addr in ((ip, 1, 0, b"", 0), (ip, 65535, 3, local, 4), (ip, 51820, 0, local, 0)):
            harness.plane.set_endpoint(1, addr)
            assert harness.plane.endpoint(1) == addr
        harness.plane.set_endpoint(1, None)
        assert harness.plane.endpoint(1) is None


@pytest.mark.parametrize(
    "addr",
    [(bytes(5), 1, 0, b"", 0), (b"", 1, 0, b"", 0), (bytes(4), 1, 0, bytes(16), 0), (bytes(16), 1, 0, bytes(4), 0)],
)
def test_what_is_no_endpoint_is_refused(addr: Addr) -> None:
    with PlaneHarness() as harness:
        Far(harness)
        before = harness.plane.endpoint(1)
        with pytest.raises(ValueError, match="4 or 16 bytes"):
            harness.plane.set_endpoint(1, addr)
        with pytest.raises(ValueError, match="4 or 16 bytes"):
            harness.plane.handshake_received(1, addr, 148)
        assert harness.plane.endpoint(1) == before


@pytest.mark.dropin("DSCP")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_handshake_messages_are_marked_af41(family: socket.AddressFamily) -> None:
    """Linux's HANDSHAKE_DSCP. Not ECN-capable, and data is not marked."""
    level, name = socket.IPPROTO_IP, IP_RECVTOS
    if family == socket.AF_INET6:
        level, name = socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS
    with PlaneHarness() as harness:
        far = Far(harness, family=family)
        far.sock.setsockopt(level, name, 1)
        assert harness.plane.send_to_peer(1, b"initiation")
        assert harness.plane.send_keepalive(1)
        assert [far.sock.recvmsg(2048, 64)[1][0][2][0] for _ in range(2)] == [0x88, 0]


# ---- the sticky source


def speak_to(far: Far, address: str) -> None:
    """An authentic packet to that address of the plane's; returns once the plane has seen it."""
    far.sock.sendto(far.message(b""), (address, far.harness.sockets.port))
    local = socket.inet_pton(far.sock.family, address)
    far.harness.until(
        lambda: (far.harness.plane.endpoint(far.peer) or [b""] * 5)[3] == local, "the endpoint's local address"
    )


def answer_comes_from(far: Far) -> str:
    far.harness.write(raw_packet(60))
    datagram, source = far.sock.recvfrom(2048)
    assert len(datagram) == 32 + 64
    return str(source[0])


@pytest.mark.dropin("15")
@pytest.mark.known_bug("Sticky cmsg parsing")
@pytest.mark.parametrize("address", ["127.0.0.2", "127.0.0.77", "127.1.2.3"])
def test_answer_leaves_from_the_address_spoken_to(address: str) -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        assert answer_comes_from(far) == "127.0.0.1"
        speak_to(far, address)
        assert harness.plane.endpoint(1) == heard_from(far.sock, address)
        assert answer_comes_from(far) == address
        assert harness.plane.send_keepalive(1)
        assert far.sock.recvfrom(2048)[1] == (address, harness.sockets.port)
        assert harness.plane.send_to_peer(1, b"hello")
        assert far.sock.recvfrom(2048) == (b"hello", (address, harness.sockets.port))


@pytest.mark.dropin("15")
@pytest.mark.known_bug("Wrong padding of the GSO cmsg")
@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.3"), (socket.AF_INET6, "::1")])
def test_train_leaves_in_one_send_from_the_address_spoken_to(family: socket.AddressFamily, address: str) -> None:
    """Source, segment size and ECN are in the control data of one send: a wrong length is EINVAL, or a lost source."""
    packet = Tcp(payload=bytes(20 * 1000), flags=ACK, tos=2)
    with PlaneHarness() as harness:
        far = Far(harness, family=family)
        speak_to(far, address)
        sends = harness.counter("tx_sends")
        harness.write(packet.unfinished(), gso_vnet(packet, 1000))
        for counter, segment in enumerate(cut(packet, 1000)):
            datagram, source = far.sock.recvfrom(2048)
            assert (datagram, source[0]) == (far.expect(counter, segment), address)
        harness.counted(tx_sends=sends + 1, tx_gso_refused=0, tx_source_cleared=0, tx_send_error=0)


@pytest.mark.known_bug("Race on the endpoint")
def test_endpoint_that_moves_while_packets_leave_is_always_a_whole_one() -> None:
    """From address and port to other ones, and so on: nothing leaves for a mixture. (A race shows now and then.)"""
    addresses = ["127.0.0.1", "127.0.0.2", "::1"]
    with PlaneHarness() as harness, ExitStack() as socks:

        def bound(address: str, port: int = 0) -> socket.socket:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            return socks.enter_context(udp_socket(family, address, port))

        places = [bound(address) for address in addresses]
        ports = [place.getsockname()[1] for place in places]
        mixtures = [
            bound(address, port) for one, address in enumerate(addresses) for port in ports[:one] + ports[one + 1 :]
        ]
        far = Far(harness, 1, sock=places[0])
        Far(harness, 2, prefixes=[(bytes([10, 5, 0, 0]), 16)])
        to_other = raw_packet(60).replace(bytes([10, 0, 0, 2]), bytes([10, 5, 0, 1]))
        for number in range(1, 21):
            moves = [far.message(b"") for _ in range(2000)]
            harness.plane.detach_tun()
            for _ in range(1000):
                harness.write(raw_packet(60))
                harness.write(
                    to_other
                )  # in between, so that each packet is a run of its own, and looks the endpoint up
            harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=10)
            for move, place in zip(moves, cycle(places), strict=False):
                place.sendto(move, ("::1" if place is places[2] else "127.0.0.1", harness.sockets.port))

            def all_sent(expected: int = 2000 * number) -> bool:
                return harness.counter("tx_datagrams") == expected

            harness.until(all_sent, "all sent")
        assert harness.counter("rx_keepalives") > 1000
        harness.counted(tx_send_error=0, tx_source_cleared=0)
        assert select.select(mixtures, [], [], 0)[0] == []


@pytest.mark.dropin("15")
def test_each_peer_has_its_own_source() -> None:
    """Known bug elsewhere: sticky sources were kept for some peers only."""
    with PlaneHarness() as harness:
        first = Far(harness, 1)
        second = Far(harness, 2, prefixes=[(bytes([10, 5, 0, 0]), 16)])
        speak_to(first, "127.0.0.3")
        speak_to(second, "127.0.0.4")
        assert answer_comes_from(first) == "127.0.0.3"
        assert harness.plane.send_keepalive(2)
        assert second.sock.recvfrom(2048)[1][0] == "127.0.0.4"


def test_cleared_source_is_forgotten() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        speak_to(far, "127.0.0.9")
        ip, port, scope_id, _, _ = harness.plane.endpoint(1) or pytest.fail("no endpoint")
        harness.plane.clear_source(1)
        assert harness.plane.endpoint(1) == (ip, port, scope_id, b"", 0)
        assert answer_comes_from(far) == "127.0.0.1"


@pytest.mark.dropin("15")
@pytest.mark.known_bug("Stale source")
def test_local_address_that_the_kernel_cut_off_is_none() -> None:
    """Who has the socket too may ask for more control data than there is room for: what lies behind it is none."""
    with PlaneHarness() as harness:
        far = Far(harness, family=socket.AF_INET6)
        assert harness.sockets.udp6 is not None
        far.send(reply(0))
        is_at(harness, heard_from(far.sock, "::1"))
        harness.sockets.udp6.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        harness.sockets.udp6.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, SOF_TIMESTAMPING_SOFTWARE)
        far.send(reply(1))
        assert harness.read(2) == [reply(0), reply(1)]
        assert harness.plane.endpoint(1) == addr_of(far.sock)


@pytest.mark.parametrize("udp_gso", [True, False])
def test_source_that_is_gone_is_dropped_and_the_packets_go(udp_gso: bool) -> None:
    """An address that this host does not have, as after a failover: the kernel refuses it, the route decides again."""
    with PlaneHarness(udp_gso=udp_gso) as harness:
        far = Far(harness)
        ip, port, *_ = harness.plane.endpoint(1) or pytest.fail("no endpoint")
        harness.plane.set_endpoint(1, (ip, port, 0, socket.inet_aton("192.0.2.1"), 0))
        harness.plane.detach_tun()
        for number in range(5):
            harness.write(raw_packet(60, 4, number))
        harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=10)
        for number in range(5):
            assert far.receive() == far.expect(number, raw_packet(60, 4, number))
        harness.until(lambda: harness.plane.endpoint(1) == (ip, port, 0, b"", 0), "the source was cleared")
        harness.until(lambda: harness.counter("tx_source_cleared") >= 1, "which is counted")
        harness.counted(tx_gso_refused=0, tx_send_error=0)
        assert harness.plane.offloads()["udp_gso4"] == udp_gso


@pytest.mark.dropin("15")
@pytest.mark.known_bug("Stale source")
def test_source_that_is_gone_over_ipv6() -> None:
    with PlaneHarness() as harness:
        far = Far(harness, family=socket.AF_INET6)
        ip, port, *_ = harness.plane.endpoint(1) or pytest.fail("no endpoint")
        harness.plane.set_endpoint(1, (ip, port, 0, socket.inet_pton(socket.AF_INET6, "2001:db8::1"), 0))
        harness.write(raw_packet(60))
        assert far.receive() == far.expect(0, raw_packet(60))
        harness.counted(tx_source_cleared=1)
