"""pywg with pywg and with wireguard-go, in both roles, with and without a pre-shared key, over IPv4 and IPv6."""

import pytest

from bench.tunnel import transfer
from bench.tunnel.lab import Lab

from .conftest import OpenLab
from .inner_udp import MAX_PAYLOAD_LEN, Wire, payload

pytestmark = pytest.mark.dropin("17")

HASHED_BYTES = 100_000_000


@pytest.mark.parametrize("psk", [False, True], ids=["no-psk", "psk"])
@pytest.mark.parametrize("outer", [4, 6], ids=["over-v4", "over-v6"])
def test_handshake_then_data_both_ways(pair: tuple[str, str], outer: int, psk: bool, open_lab: OpenLab) -> None:
    lab = open_lab(*pair, outer=outer, psk=psk)
    lab.establish()
    for family in (4, 6):
        with Wire(lab.near, lab.far, family) as there, Wire(lab.far, lab.near, family) as back:
            sizes = [payload(size) for size in (0, 1, 15, 16, 17, 1232, MAX_PAYLOAD_LEN - 20)]
            there.check(sizes)
            back.check(sizes)
    endpoint = lab.far.wg("show", lab.far.interface, "endpoints").split()[1]
    host = lab.near.outer(4) if outer == 4 else f"[{lab.near.outer(6)}]"
    assert endpoint == f"{host}:51820", "the responder learns the endpoint from the initiation"


def test_different_preshared_keys_make_no_session(pair: tuple[str, str], open_lab: OpenLab) -> None:
    lab = open_lab(*pair, psk=True)
    assert lab.preshared_key is not None
    other = lab.far.secret_file("other-psk", lab.near.keys.public)
    lab.far.wg("set", lab.far.interface, "peer", lab.near.keys.public, "preshared-key", other)
    with pytest.raises(TimeoutError):
        lab.establish(within_s=1)
    assert not lab.near.has_handshake()
    lab.far.wg(
        "set",
        lab.far.interface,
        "peer",
        lab.near.keys.public,
        "preshared-key",
        lab.far.secret_file("psk", lab.preshared_key),
    )
    lab.establish(within_s=20)  # the initiator tries again after REKEY_TIMEOUT, 5 s


@pytest.mark.parametrize("family", [4, 6], ids=["v4", "v6"])
def test_100_mb_each_way_at_once(lab: Lab, family: int) -> None:
    transfer.exchange(lab.near.namespace, lab.far.namespace, lab.far.inner(family), HASHED_BYTES)


def test_byte_counters_count_whole_messages(lab: Lab) -> None:
    """A ping with 56 bytes of data is an 84-byte packet: padded to 96, with header and tag 128 bytes on the wire.

    Of several tries one is right: another has the last words of the connections before, or is read before all is
    counted.
    """
    for _ in range(5):
        before = lab.near.transferred()
        lab.near.namespace.run("ping", "-n", "-c", "10", "-i", "0.01", lab.far.inner(4))
        after = lab.near.transferred()
        received, sent = (b - a for a, b in zip(before, after, strict=True))
        if {received, sent} <= {1280, 1280 + 32}:  # at most a keepalive
            return
    raise AssertionError((received, sent))
