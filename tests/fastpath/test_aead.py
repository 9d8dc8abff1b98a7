"""Batches through every backend of the AEAD, against `cryptography` as the oracle (paper section 5.4.6, RFC 8439)."""

import random

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from tests.aead import every_backend
from tests.fastpath.plane_harness import pad, seal
from tests.native.aead import open_batch, seal_batch
from tests.paper import REJECT_AFTER_MESSAGES

pytestmark = every_backend

KEY = bytes(range(100, 132))
LONGEST = 2048
PACKETS = [random.Random(length).randbytes(length) for length in range(LONGEST + 1)]

counters = st.one_of(st.integers(0, REJECT_AFTER_MESSAGES - 2), st.sampled_from([0, 2**32 - 1, 2**32, 2**63]))
keys = st.binary(min_size=32, max_size=32)


def test_every_length_is_sealed_as_the_oracle_seals_it(aead: str) -> None:
    sealed = seal_batch(aead, KEY, 0, PACKETS, receiver_index=0xDEADBEEF)
    assert sealed == [seal(KEY, 0xDEADBEEF, i, pad(packet, 65535)) for i, packet in enumerate(PACKETS)]


def test_every_length_is_opened_as_the_oracle_sealed_it(aead: str) -> None:
    datagrams = [seal(KEY, 1, 2**40 + i, packet) for i, packet in enumerate(PACKETS)]
    assert open_batch(aead, KEY, datagrams) == PACKETS


@given(
    key=keys,
    counter=counters,
    index=st.integers(0, 2**32 - 1),
    packet=st.binary(max_size=200),
    mtu=st.integers(0, 200),
)
def test_any_key_counter_index_and_mtu(
    *, aead: str, key: bytes, counter: int, index: int, packet: bytes, mtu: int
) -> None:
    [sealed] = seal_batch(aead, key, counter, [packet], receiver_index=index, mtu=mtu)
    assert sealed == seal(key, index, counter, pad(packet, mtu))
    assert open_batch(aead, key, [sealed]) == [pad(packet, mtu)]


@pytest.mark.known_bug("A 32-bit counter")
def test_batch_counters_follow_each_other_across_32_bits(aead: str) -> None:
    first = 2**32 - 3
    assert seal_batch(aead, KEY, first, [b"x" * 16] * 6) == [seal(KEY, 0, first + i, b"x" * 16) for i in range(6)]


@pytest.mark.known_bug("Missing 16-byte padding")
@pytest.mark.parametrize("mtu", [1, 15, 16, 17, 1280, 1419, 1420, 1421, 1500])
def test_padding_is_zero_and_never_goes_past_the_mtu(aead: str, mtu: int) -> None:
    packets = [b"\xff" * length for length in range(1, mtu + 1)]
    texts = open_batch(aead, KEY, seal_batch(aead, KEY, 0, packets, mtu=mtu))
    for packet, text in zip(packets, texts, strict=True):
        assert text is not None
        assert text == packet + bytes(len(text) - len(packet))
        assert len(text) <= mtu
        assert len(text) % 16 == 0 or len(text) == mtu
        assert len(text) - len(packet) < 16


def test_last_counter_that_may_be_used(aead: str) -> None:
    last = REJECT_AFTER_MESSAGES - 1
    # The stage keeps one in hand: what it seals always stays below the limit.
    assert seal_batch(aead, KEY, last - 1, [b"a"]) == [seal(KEY, 0, last - 1, pad(b"a"))]


@pytest.mark.parametrize("counter", [REJECT_AFTER_MESSAGES, REJECT_AFTER_MESSAGES + 1, 2**64 - 1])
def test_counters_past_reject_after_messages_are_refused(aead: str, counter: int) -> None:
    with pytest.raises(ValueError, match="Reject-After-Messages"):
        seal_batch(aead, KEY, counter, [b"a"])


@pytest.mark.known_bug("A nonce could wrap")
def test_batch_that_would_run_past_the_limit_is_refused_whole(aead: str) -> None:
    with pytest.raises(ValueError, match="Reject-After-Messages"):
        seal_batch(aead, KEY, REJECT_AFTER_MESSAGES - 3, [b"a"] * 4)


@pytest.mark.known_bug("A nonce could wrap")
def test_counter_never_wraps(aead: str) -> None:
    with pytest.raises(OverflowError):
        seal_batch(aead, KEY, 2**64, [b"a"])


def test_sealing_nothing(aead: str) -> None:
    assert seal_batch(aead, KEY, 0, []) == []
    assert open_batch(aead, KEY, []) == []


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_keys_of_another_length_are_refused(aead: str, length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        seal_batch(aead, bytes(length), 0, [b"a"])
    with pytest.raises(ValueError, match="32 bytes"):
        open_batch(aead, bytes(length), [])


def test_every_flipped_bit_is_noticed(aead: str) -> None:
    datagram = seal(KEY, 5, 77, b"sixteen bytes...and some")
    forged = []
    for bit in range(len(datagram) * 8):
        copy = bytearray(datagram)
        copy[bit // 8] ^= 1 << bit % 8
        forged.append(bytes(copy))
    opened = open_batch(aead, KEY, forged)
    # The receiver index says whose key it is and is not authenticated; all else is.
    by_index = range(4 * 8, 8 * 8)
    assert [bit for bit, text in enumerate(opened) if text is not None] == list(by_index)


@given(st.integers(0, 31))
def test_what_is_shorter_than_a_keepalive_is_refused(aead: str, length: int) -> None:
    whole = seal(KEY, 5, 77, b"")
    assert open_batch(aead, KEY, [whole[:length], whole]) == [None, b""]


def test_cut_and_lengthened_messages_are_refused(aead: str) -> None:
    whole = seal(KEY, 5, 77, bytes(64))
    changed = [whole[:-cut] for cut in range(1, len(whole))] + [whole + bytes(more) for more in range(1, 40)]
    assert open_batch(aead, KEY, changed) == [None] * len(changed)


def test_forged_ones_do_not_harm_their_neighbours(aead: str) -> None:
    good = [seal(KEY, 5, i, b"packet %d" % i) for i in range(50)]
    mixed = [one if i % 3 else one[:-1] + bytes([one[-1] ^ 1]) for i, one in enumerate(good)]
    assert open_batch(aead, KEY, mixed) == [b"packet %d" % i if i % 3 else None for i in range(50)]


def test_another_key_opens_nothing(aead: str) -> None:
    assert open_batch(aead, bytes(32), [seal(KEY, 5, i, b"a") for i in range(3)]) == [None] * 3


def test_rfc_8439_key_block_with_wireguards_nonce(aead: str) -> None:
    """Appendix A.5's key and text under the one nonce shape that WireGuard has: four zero bytes, then the counter."""
    key = bytes.fromhex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0")
    text = b"Internet-Drafts are draft documents valid for a maximum of six months"
    counter = 0x0807060504030201
    [sealed] = seal_batch(aead, key, counter, [text], mtu=len(text))
    nonce = bytes.fromhex("000000000102030405060708")
    assert sealed[16:] == ChaCha20Poly1305(key).encrypt(nonce, text, None)


def test_rfc_8439_appendix_a_1_first_key_stream(aead: str) -> None:
    """The zero key's block 1 at counter 0 (RFC 8439, A.1, test vector 2) is what sealed zeros are."""
    stream = bytes.fromhex(
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
    )
    [sealed] = seal_batch(aead, bytes(32), 0, [bytes(64)])
    assert sealed[16:80] == stream
