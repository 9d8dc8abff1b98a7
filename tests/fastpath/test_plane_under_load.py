"""Under load the plane lets through who has a cookie, and of the others a few. Paper, section 5.3."""

import hashlib
import socket

import pytest

from tests.fastpath.plane_bed import Addr, Bed, addr_of, handshake_message, udp_socket

pytestmark = pytest.mark.dropin("20")

INITIATION_LEN = 148
UNDER_LOAD_AT = 512
FLOOD = 800  # well over the burst of 100 that may pass, and few enough for the ring
SECRET = hashlib.sha256(b"cookie secret").digest()


def with_mac2(message: bytes, addr: Addr, secret: bytes = SECRET) -> bytes:
    """Section 5.4.4: a MAC over all before it, under the cookie, a MAC over address and port (5.4.7)."""
    cookie = hashlib.blake2s(addr[0] + addr[1].to_bytes(2, "big"), key=secret, digest_size=16).digest()
    return message[:-16] + hashlib.blake2s(message[:-16], key=cookie, digest_size=16).digest()


def test_a_flood_gets_few_answers_and_a_cookie_gets_through() -> None:
    with Bed() as bed, udp_socket(socket.AF_INET, "127.0.0.1") as far, udp_socket(socket.AF_INET, "127.0.0.1") as flood:
        here = ("127.0.0.1", bed.sockets.port)
        mine = handshake_message(1, INITIATION_LEN, body=b"mine")
        bed.plane.set_cookie_secret(SECRET)
        for _ in range(UNDER_LOAD_AT + 1):
            flood.sendto(mine, here)
        bed.counted(rx_datagrams=UNDER_LOAD_AT + 1, rx_under_load=0)

        # Neither without a cookie, nor with that of another port, nor with one of another secret
        for wrong in (mine, with_mac2(mine, addr_of(flood)), with_mac2(mine, addr_of(far), bytes(32))):
            seen, refused = bed.counter("rx_datagrams"), bed.counter("rx_under_load")
            for _ in range(FLOOD):
                far.sendto(wrong, here)
            bed.until(lambda seen=seen: bed.counter("rx_datagrams") == seen + FLOOD, "the flood")
            assert bed.counter("rx_under_load") > refused

        seen, refused = bed.counter("rx_datagrams"), bed.counter("rx_under_load")
        for _ in range(FLOOD):
            far.sendto(with_mac2(mine, addr_of(far)), here)
        bed.until(lambda: bed.counter("rx_datagrams") == seen + FLOOD, "the messages with a cookie")
        assert bed.counter("rx_under_load") == refused
        good = with_mac2(mine, addr_of(far))
        while sum(data == good for data, _, _ in bed.messages) < FLOOD:
            bed.received(len(bed.messages) + 1)


def test_without_load_nobody_needs_a_cookie() -> None:
    with Bed() as bed, udp_socket(socket.AF_INET, "127.0.0.1") as far:
        for _ in range(UNDER_LOAD_AT):
            far.sendto(handshake_message(1, INITIATION_LEN), ("127.0.0.1", bed.sockets.port))
        bed.counted(rx_datagrams=UNDER_LOAD_AT, rx_under_load=0)
        assert len(bed.received(UNDER_LOAD_AT)) == UNDER_LOAD_AT
