"""What the inner network expects of a router: ICMP when nobody takes a packet, ECN by RFC 6040, and no DSCP outside."""

import errno
import socket
import struct
import time
from dataclasses import replace

import pytest

from bench.tunnel.implementations import find
from bench.tunnel.lab import Lab
from bench.tunnel.site import LINK, Site

from . import dropin
from .conftest import OpenLab
from .dropin import nft
from .inner_udp import PORT
from .outer_link import INITIATION, RESPONSE, TRANSPORT, Link

pytest_generate_tests = dropin.parametrize_subject

NOT_ECT, ECT_1, ECT_0, CE = 0, 1, 2, 3
FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["v4", "v6"])
SOL_UDP, UDP_SEGMENT = 17, 103
IPV6_TCLASS, IPV6_RECVTCLASS, IP_RECVTOS = 67, 66, 13
IP_RECVERR, IPV6_RECVERR = 11, 25
OFFLOADS = {"PYWG_UDP_GSO": "0", "PYWG_UDP_GRO": "0", "PYWG_TUN_OFFLOAD": "0"}
NO_ECN = "knows nothing of ECN"
AF41 = 0x88


def _unanswered(site: Site, address: str) -> int:
    """The errno that a connected UDP socket gets back for what it sent to `address`; 0 for none."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with site.namespace.socket(family, socket.SOCK_DGRAM) as sender:
        sender.settimeout(5)
        sender.setsockopt(
            *((socket.IPPROTO_IPV6, IPV6_RECVERR) if ":" in address else (socket.IPPROTO_IP, IP_RECVERR)), 1
        )
        sender.connect((address, 9))
        sender.send(b"anyone?")
        try:
            sender.recv(1)
        except TimeoutError:
            return 0
        except OSError as error:
            return error.errno or 0
    return 0


@pytest.mark.dropin("19")
@pytest.mark.lacks("wireguard-go", "says nothing to the inner sender")
@FAMILIES
def test_no_peer_owns_the_destination(subject: str, family: int, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject)
    target = "10.78.0.99" if family == 4 else "fd00:78::99"
    assert _unanswered(lab.near, target) == errno.EHOSTUNREACH


@pytest.mark.dropin("19")
@pytest.mark.lacks("wireguard-go", "says nothing to the inner sender")
@FAMILIES
def test_the_host_itself_says_that_no_peer_owns_it(subject: str, family: int, open_lab: OpenLab) -> None:
    """As the kernel's WireGuard: the error is not from the address that nobody has."""
    lab = dropin.tunnel(open_lab, subject)
    target = "10.78.0.99" if family == 4 else "fd00:78::99"
    kind, option = (socket.AF_INET, (socket.IPPROTO_IP, IP_RECVERR))
    if family == 6:
        kind, option = (socket.AF_INET6, (socket.IPPROTO_IPV6, IPV6_RECVERR))
    with lab.near.namespace.socket(kind, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(*option, 1)
        sender.connect((target, 9))
        sender.send(b"anyone?")
        sender.settimeout(5)
        with pytest.raises(OSError, match="No route to host"):
            sender.recv(1)
        _, [(_, _, error)], _, _ = sender.recvmsg(100, 512, socket.MSG_ERRQUEUE)
    offender = error[20:24] if family == 4 else error[24:40]
    assert socket.inet_ntop(kind, offender) == lab.near.inner(family)


@pytest.mark.dropin("19")
@pytest.mark.lacks("wireguard-go", "says nothing to the inner sender")
@FAMILIES
def test_peer_without_an_endpoint(subject: str, family: int, open_lab: OpenLab) -> None:
    lab = open_lab(subject, subject)
    # An answer of the kind may be lost, as any ICMP message; each of three would not be.
    answers = (_unanswered(lab.far, lab.near.inner(family)) for _ in range(3))
    assert next(filter(None, answers), 0) == errno.EHOSTUNREACH
    lab.establish()
    assert _unanswered(lab.far, lab.near.inner(family)) == errno.ECONNREFUSED, "near is there, and its port is closed"


@pytest.mark.dropin("19")
@pytest.mark.lacks("wireguard-go", "says nothing to the inner sender")
def test_unreachables_are_rate_limited(subject: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject)
    with (
        lab.near.namespace.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as heard,
        lab.near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        heard.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        heard.settimeout(1)
        for _ in range(20):
            for _ in range(200):
                sender.sendto(b"anyone?", ("10.78.0.99", 9))
            time.sleep(0.01)
        answers = 0
        while True:
            try:
                packet = heard.recv(2048)
            except TimeoutError:
                break
            answers += packet[20:22] == b"\x03\x01"
    assert 1 <= answers <= 2000, "some of 4000, and not one for each"


def _offloads(lab: Lab, offloads: bool) -> None:
    """Switches the segmentation offloads of the interfaces themselves; pywg's own are switched by its environment."""
    if not offloads:
        for site in lab.sites:
            site.namespace.run("ethtool", "-K", site.interface, "tso", "off", "gso", "off", "gro", "off")


def _lab(open_lab: OpenLab, subject: str, offloads: bool, outer: int) -> Lab:
    daemon = find(subject)
    if not offloads:
        daemon = replace(daemon, env=OFFLOADS)
    lab = open_lab(daemon, daemon, outer=outer)
    lab.establish()
    _offloads(lab, offloads)
    return lab


class _Tos:
    """Datagrams between the inner addresses whose TOS or traffic class is set at one end and read at the other."""

    def __init__(self, lab: Lab, family: int) -> None:
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        self._level = socket.IPPROTO_IP if family == 4 else socket.IPPROTO_IPV6
        self._set = socket.IP_TOS if family == 4 else IPV6_TCLASS
        self.target = (lab.far.inner(family), PORT)
        self.receiver = lab.far.namespace.socket(kind, socket.SOCK_DGRAM)
        self.receiver.setsockopt(self._level, IP_RECVTOS if family == 4 else IPV6_RECVTCLASS, 1)
        self.receiver.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
        self.receiver.bind(self.target)
        self.sender = lab.near.namespace.socket(kind, socket.SOCK_DGRAM)

    def __enter__(self) -> "_Tos":
        return self

    def __exit__(self, *_: object) -> None:
        self.sender.close()
        self.receiver.close()

    def send(self, tos: int, data: bytes = b"x" * 100, segment: int = 0) -> None:
        """One datagram, or with `segment` as many as it takes (UDP_SEGMENT)."""
        self.sender.setsockopt(self._level, self._set, tos)
        self.sender.setsockopt(SOL_UDP, UDP_SEGMENT, segment)
        self.sender.sendto(data, self.target)

    def received(self, within_s: float = 5.0) -> int | None:
        """The next datagram's TOS; None when none comes."""
        self.receiver.settimeout(within_s)
        try:
            _, ancillary, _, _ = self.receiver.recvmsg(2048, 64)
        except TimeoutError:
            return None
        ((_, _, data),) = ancillary
        return data[0] if len(data) == 1 else int(struct.unpack("=i", data)[0])


OFF_AND_ON = pytest.mark.parametrize("offloads", [True, False], ids=["offloads", "no-offloads"])


@pytest.mark.dropin("19", "ECN")
@pytest.mark.lacks("wireguard-go", NO_ECN)
@OFF_AND_ON
@pytest.mark.parametrize(("family", "outer"), [(6, 4), (4, 6)])
def test_ecn_is_copied_to_the_outer_header(
    subject: str, family: int, outer: int, offloads: bool, open_lab: OpenLab
) -> None:
    """RFC 6040, section 4.1, normal mode. A burst of one flow with different codepoints must not become one send."""
    lab = _lab(open_lab, subject, offloads, outer)
    with Link(lab.near) as link, _Tos(lab, family) as wire:
        before = len(link.sent(TRANSPORT))
        codes = [ECT_0, NOT_ECT, CE, ECT_1, ECT_0, ECT_0, CE]
        for code in codes:
            wire.send(code)
        assert [wire.received() for _ in codes] == codes
        assert [one.tos & 3 for one in link.sent(TRANSPORT)[before:]] == codes
        before = len(link.sent(TRANSPORT))
        wire.send(ECT_0, b"y" * 10_000, segment=1000)
        assert [wire.received() for _ in range(10)] == [ECT_0] * 10
        assert [one.tos for one in link.sent(TRANSPORT)[before:]] == [ECT_0] * 10


@pytest.mark.dropin("19", "ECN")
@pytest.mark.lacks("wireguard-go", NO_ECN)
@OFF_AND_ON
@pytest.mark.parametrize(("family", "outer"), [(6, 4), (4, 6)])
def test_congestion_on_the_way_reaches_the_inner_header(
    subject: str, family: int, outer: int, offloads: bool, open_lab: OpenLab
) -> None:
    """RFC 6040, figure 4: CE outside makes CE of ECT inside. What is not capable comes as it is, as from the kernel."""
    lab = _lab(open_lab, subject, offloads, outer)
    name = "ip" if outer == 4 else "ip6"
    nft(
        lab.far,
        f"table {name} congested {{",
        "chain in { type filter hook prerouting priority -150;",
        f'iifname "{LINK}" meta l4proto udp {name} ecn set ce',
        "}",
        "}",
    )
    with _Tos(lab, family) as wire:
        for code, expected in ((ECT_0, CE), (ECT_1, CE), (CE, CE), (NOT_ECT, NOT_ECT)):
            wire.send(code)
            assert wire.received() == expected
        wire.send(ECT_0, b"y" * 10_000, segment=1000)
        assert [wire.received() for _ in range(10)] == [CE] * 10


@pytest.mark.dropin("19", "DSCP")
@OFF_AND_ON
@pytest.mark.parametrize(("family", "outer"), [(4, 4), (6, 6)])
def test_dscp_is_not_leaked(subject: str, family: int, outer: int, offloads: bool, open_lab: OpenLab) -> None:
    """What is inside is nobody's business; nor is the outer DSCP the inner network's."""
    lab = _lab(open_lab, subject, offloads, outer)
    with Link(lab.near) as link, _Tos(lab, family) as wire:
        before = len(link.sent(TRANSPORT))
        for dscp in (46, 8, 63):
            wire.send(dscp << 2)
            assert wire.received() == dscp << 2
        assert [one.tos >> 2 for one in link.sent(TRANSPORT)[before:]] == [0, 0, 0]


@pytest.mark.dropin("DSCP")
@pytest.mark.lacks("wireguard-go", "marks no message")
@pytest.mark.parametrize("outer", [4, 6], ids=["v4", "v6"])
def test_handshake_messages_are_marked(subject: str, outer: int, open_lab: OpenLab) -> None:
    """As Linux marks them: a queue that is full of data lets them pass, so that the session goes on."""
    lab = open_lab(subject, subject, outer=outer)
    with Link(lab.near) as link:
        lab.establish()
        assert {one.tos for one in link.sent(INITIATION)} == {AF41}
        assert {one.tos for one in link.received(RESPONSE)} == {AF41}
        assert {one.tos for one in link.sent(TRANSPORT)} == {0}
