"""Every backend of the AEAD, and the kernels' Poly1305, against RFC 8439 and `cryptography`'s implementation."""

import ctypes
import mmap
import random
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.poly1305 import Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.aead import KERNELS, each_backend, every_backend
from tests.core.vectors import wycheproof
from tests.native.aead import open_texts, poly1305, seal_texts

TAG_LEN = 16
KEY = bytes(range(0x80, 0xA0))
every_kernel = pytest.mark.parametrize(
    "level", [pytest.param(KERNELS[one.id], marks=one.marks, id=one.id) for one in each_backend if one.id in KERNELS]
)


def nonce(counter: int) -> bytes:
    return bytes(4) + (counter % 2**64).to_bytes(8, "little")


def reference(key: bytes, counter: int, text: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(nonce(counter), text, None)


def one_time_key(key: bytes, full_nonce: bytes) -> bytes:
    """RFC 8439 section 2.6, through `cryptography`'s bare ChaCha20."""
    stream = Cipher(algorithms.ChaCha20(key, bytes(4) + full_nonce), mode=None).encryptor()
    return stream.update(bytes(32))


class Batch:
    """Texts somewhere in a buffer of noise, and what the buffer must be when they are sealed."""

    def __init__(self, texts: list[bytes], first_counter: int, *, key: bytes = KEY, seed: int = 0) -> None:
        noise = random.Random(seed)
        self.key, self.first_counter = key, first_counter
        self.plain, self.sealed = bytearray(), bytearray()
        self.places: list[tuple[int, int]] = []
        for i, text in enumerate(texts):
            gap = noise.randbytes(noise.randrange(1, 100))
            self.places.append((len(self.plain) + len(gap), len(text)))
            self.plain += gap + text + noise.randbytes(TAG_LEN)
            self.sealed += gap + reference(key, first_counter + i, text)
        tail = noise.randbytes(100)
        self.plain += tail
        self.sealed += tail
        self.counters = [(first_counter + i) % 2**64 for i in range(len(texts))]

    def seals(self, aead: str) -> bool:
        buffer = bytearray(self.plain)
        seal_texts(aead, self.key, self.first_counter, buffer, self.places)
        return buffer == self.sealed

    def opened(self, authentic: list[bool], received: bytearray) -> bytearray:
        """What the buffer `received` must become: nothing changes but the texts that are authentic."""
        expected = bytearray(received)
        for (offset, length), ok in zip(self.places, authentic, strict=True):
            if ok:
                expected[offset : offset + length] = self.plain[offset : offset + length]
        return expected

    def opens(self, aead: str, received: bytearray, authentic: list[bool]) -> bool:
        buffer = bytearray(received)
        said = open_texts(aead, self.key, self.counters, buffer, self.places)
        expected = self.opened(authentic, received)
        for (offset, length), ok in zip(self.places, authentic, strict=True):
            if not ok and aead not in KERNELS:
                buffer[offset : offset + length] = expected[offset : offset + length]
        return said == authentic and buffer == expected


def check(aead: str, batch: Batch) -> None:
    assert batch.seals(aead)
    assert batch.opens(aead, batch.sealed, [True] * len(batch.places))


def texts_of(lengths: list[int], seed: int | str) -> list[bytes]:
    noise = random.Random(seed)
    return [noise.randbytes(length) for length in lengths]


@every_backend
def test_rfc8439_key_stream(aead: str) -> None:
    """Appendix A.1, test vector 2: all zeros, the block number is 1."""
    buffer = bytearray(64 + TAG_LEN)
    seal_texts(aead, bytes(32), 0, buffer, [(0, 64)])
    assert buffer[:64].hex() == (
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
    )


@every_backend
def test_rfc8439_aead_text(aead: str) -> None:
    """Appendix A.5 but for its tag, which covers associated data: the nonce has our shape."""
    key = bytes.fromhex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0")
    text = (
        "Internet-Drafts are draft documents valid for a maximum of six months and may be updated, replaced, or "
        "obsoleted by other documents at any time. It is inappropriate to use Internet-Drafts as reference material or "
        "to cite them other than as /\u201cwork in progress./\u201d"
    ).encode()
    buffer = bytearray(text + bytes(TAG_LEN))
    seal_texts(aead, key, int.from_bytes(bytes.fromhex("0102030405060708"), "little"), buffer, [(0, len(text))])
    assert buffer[:-TAG_LEN].hex() == (
        "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0bdb7b73c321b0100"
        "d4f03b7f355894cf332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c8559797a06ef4f0ef61c186324e2b350638"
        "3606907b6a7c02b0f9f6157b53c867e4b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523eaf4534d7f83fa115"
        "5b0047718cbc546a0d072b04b3564eea1b422273f548271a0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a10"
        "49e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29a6ad5cb4022b02709b"
    )


# RFC 8439 appendix A.3: (its number, r, s, message, tag), those whose message is whole blocks.
POLY1305_VECTORS = [
    (1, "00" * 16, "00" * 16, "00" * 64, "00" * 16),
    (5, "02" + "00" * 15, "00" * 16, "ff" * 16, "03" + "00" * 15),
    (6, "02" + "00" * 15, "ff" * 16, "02" + "00" * 15, "03" + "00" * 15),
    (7, "01" + "00" * 15, "00" * 16, "ff" * 16 + "f0" + "ff" * 15 + "11" + "00" * 15, "05" + "00" * 15),
    (8, "01" + "00" * 15, "00" * 16, "ff" * 16 + "fb" + "fe" * 15 + "01" * 16, "00" * 16),
    (9, "02" + "00" * 15, "00" * 16, "fd" + "ff" * 15, "fa" + "ff" * 15),
    (
        10,
        "0100000000000000" + "0400000000000000",
        "00" * 16,
        "e33594d7505e43b90000000000000000" + "3394d7505e4379cd0100000000000000" + "00" * 16 + "01" + "00" * 15,
        "14000000000000005500000000000000",
    ),
    (
        11,
        "0100000000000000" + "0400000000000000",
        "00" * 16,
        "e33594d7505e43b90000000000000000" + "3394d7505e4379cd0100000000000000" + "00" * 16,
        "13" + "00" * 15,
    ),
]


@every_kernel
def test_rfc8439_poly1305_one_by_one_and_together(level: int) -> None:
    keys = [bytes.fromhex(r + s) for _, r, s, _, _ in POLY1305_VECTORS]
    messages = [bytes.fromhex(message) for _, _, _, message, _ in POLY1305_VECTORS]
    tags = [bytes.fromhex(tag) for _, _, _, _, tag in POLY1305_VECTORS]
    for key, message, tag in zip(keys, messages, tags, strict=True):
        assert poly1305(level, [key], [message]) == [tag]
        assert poly1305(level, [key] * 16, [message] * 16) == [tag] * 16
    assert poly1305(level, keys + keys, messages + messages) == tags + tags


@every_kernel
def test_poly1305_around_its_modulus(level: int) -> None:
    """With r = 1 the sum of the blocks is what is reduced: three blocks that make 2^130 - 5 + d, for small d."""
    noise = random.Random(level)
    pad = noise.randbytes(16)
    key = (1).to_bytes(16, "little") + pad
    for d in range(-8, 9):
        total = 2**130 - 5 + d - 3 * 2**128
        messages = []
        for _ in range(16):
            first = noise.choice([0, 2**128 - 1 - 16, noise.randrange(2**127)])
            second = noise.randrange(max(0, total - first - 2**128 + 1), min(2**128, total - first + 1))
            blocks = [first, second, total - first - second]
            noise.shuffle(blocks)
            messages.append(b"".join(block.to_bytes(16, "little") for block in blocks))
        tag = ((2**130 - 5 + d) % (2**130 - 5) + int.from_bytes(pad, "little")) % 2**128
        assert poly1305(level, [key] * 16, messages) == [tag.to_bytes(16, "little")] * 16


def just_past_the_modulus(limb_bits: int, seed: int) -> tuple[int, int, int]:
    """r, a block, and the tag without s, so that the product's limbs are all ones and its lowest is too long once more.

    r has one limb, so nothing is folded: x r = c 2^130 + t with t + 5 c = 2^130 + d, where d ends a limb full of ones.
    """
    noise, p = random.Random(seed), 2**130 - 5
    while True:
        r = noise.randrange(2 ** (limb_bits - 1), 2**limb_bits) & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF | 1
        d = 2**limb_bits - 1 - noise.randrange(5)
        multiple = -(d + 5) * pow(p, -1, r) % r
        x = (multiple * p + d + 5) // r
        if 2**128 <= x < 2**129 and 5 * (multiple - 1) > d:
            return r, x - 2**128, d + 5


@every_kernel
@pytest.mark.parametrize("limb_bits", [26, 44])
def test_poly1305_that_carries_all_the_way_round_twice(level: int, limb_bits: int) -> None:
    for seed in range(8):
        r, block, expected = just_past_the_modulus(limb_bits, seed)
        key, message = r.to_bytes(32, "little"), block.to_bytes(16, "little")
        assert Poly1305.generate_tag(key, message) == expected.to_bytes(16, "little")
        assert poly1305(level, [key], [message]) == [expected.to_bytes(16, "little")]


extreme_words = st.sampled_from([bytes(4), b"\xff" * 4, b"\x01\0\0\0", b"\xfb\xff\xff\xff", b"\xff\xff\xff\x0f"])
extreme = st.one_of(st.lists(extreme_words, min_size=4, max_size=4).map(b"".join), st.binary(min_size=16, max_size=16))


@every_kernel
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_poly1305_of_extreme_limbs(level: int, data: st.DataObject) -> None:
    """All-ones and all-zeros limbs, long enough for every carry, few messages (split over lanes) and many."""
    count = data.draw(st.integers(1, 16))
    keys = [data.draw(extreme) + data.draw(extreme) for _ in range(count)]
    blocks = st.tuples(extreme, st.integers(0, 30)).map(lambda drawn: drawn[0] * drawn[1])
    messages = [b"".join(data.draw(st.lists(blocks, max_size=4))) for _ in range(count)]
    expected = [Poly1305.generate_tag(key, message) for key, message in zip(keys, messages, strict=True)]
    assert poly1305(level, keys, messages) == expected


@every_kernel
def test_poly1305_of_all_ones_at_every_length(level: int) -> None:
    key = b"\xff" * 32
    for blocks in range(1, 130):
        message = b"\xff" * 16 * blocks
        tag = Poly1305.generate_tag(key, message)
        for count in (1, 2, 3, 4, 8, 16):
            assert poly1305(level, [key] * count, [message] * count) == [tag] * count


@every_backend
def test_every_length_alone_and_in_company(aead: str) -> None:
    """Each of 0 to 2048 bytes, in batches that go through all sizes from 1 to 64."""
    for length in range(2049):
        size = 1 + length % 64
        check(aead, Batch(texts_of([length], length), length, seed=length))
        check(aead, Batch(texts_of([length] * min(size, 24), length), length << 30, seed=length))


@every_backend
@pytest.mark.parametrize("length", [0, 1, 16, 64, 65, 576, 1023, 1024, 1025, 1420])
def test_every_batch_size(aead: str, length: int) -> None:
    for size in range(65):
        check(aead, Batch(texts_of([length] * size, size), size, seed=size))


@every_backend
def test_mixed_lengths(aead: str) -> None:
    noise = random.Random(aead)
    for size in range(1, 65):
        lengths = [noise.choice([0, 1, 40, noise.randrange(130), 1420, noise.randrange(2049)]) for _ in range(size)]
        check(aead, Batch(texts_of(lengths, size), noise.randrange(2**64), seed=size))


@every_backend
def test_a_run_with_a_shorter_end(aead: str) -> None:
    """What a segmented superframe looks like."""
    for last in range(0, 1421, 71):
        check(aead, Batch(texts_of([1420] * 44 + [last], last), 7, seed=last))


@every_backend
def test_long_texts(aead: str) -> None:
    for length in (4095, 4096, 4097, 9000, 65535):
        for size in (1, 2, 5, 9):
            check(aead, Batch(texts_of([length] * size, length), 2**40, seed=size))


@every_backend
@pytest.mark.parametrize("edge", [2**32, 2**63, 2**64, 2**40 - 2**13])
def test_counters_that_carry(aead: str, edge: int) -> None:
    for size in (1, 3, 16, 40):
        check(aead, Batch(texts_of([100] * size, size), (edge - size // 2 - 1) % 2**64))


@every_backend
def test_counters_in_any_order(aead: str) -> None:
    noise = random.Random(aead)
    counters = [noise.randrange(2**64) for _ in range(60)] + [0, 2**32 - 1, 2**32, 2**64 - 1]
    texts = texts_of([noise.randrange(300) for _ in counters], aead)
    places, buffer = [], bytearray()
    for counter, text in zip(counters, texts, strict=True):
        places.append((len(buffer), len(text)))
        buffer += reference(KEY, counter, text)
    assert all(open_texts(aead, KEY, counters, buffer, places))
    assert [bytes(buffer[at : at + length]) for at, length in places] == texts


@every_backend
@pytest.mark.parametrize("length", [0, 33, 1420])
@pytest.mark.parametrize("size", [1, 2, 20])
def test_every_bit_of_the_tag(aead: str, length: int, size: int) -> None:
    batch = Batch(texts_of([length] * size, size), 5)
    for bit in range(8 * TAG_LEN):
        victim = bit % size
        received = bytearray(batch.sealed)
        received[batch.places[victim][0] + length + bit // 8] ^= 1 << bit % 8
        assert batch.opens(aead, received, [i != victim for i in range(size)])


@every_backend
def test_every_byte_of_the_text(aead: str) -> None:
    batch = Batch(texts_of([321] * 17, 1), 5)
    for at in range(321):
        victim = at % 17
        received = bytearray(batch.sealed)
        received[batch.places[victim][0] + at] ^= 1 << at % 8
        assert batch.opens(aead, received, [i != victim for i in range(17)])


@every_backend
def test_the_wrong_counter_key_or_length(aead: str) -> None:
    batch = Batch(texts_of([100] * 18, 1), 5)
    places, none = batch.places, [False] * 18
    for counters, key, asked in (
        ([counter + 1 for counter in batch.counters], KEY, places),
        ([counter ^ 2**63 for counter in batch.counters], KEY, places),
        (batch.counters, bytes([KEY[0] ^ 1]) + KEY[1:], places),
        (batch.counters, KEY, [(at, length - 1) for at, length in places]),
        (batch.counters, KEY, [(at + 1, length - 1) for at, length in places]),
    ):
        buffer = bytearray(batch.sealed)
        assert open_texts(aead, key, counters, buffer, asked) == none
        assert aead not in KERNELS or buffer == batch.sealed


@every_backend
@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.one_of(st.integers(0, 2048), st.sampled_from([0, 64, 1420])), max_size=64),
    first_counter=st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 2**32 - 20, 2**64 - 20])),
    forged=st.sets(st.integers(0, 63)),
    seed=st.integers(0, 2**32),
)
def test_any_batch(aead: str, lengths: list[int], first_counter: int, forged: set[int], seed: int) -> None:
    batch = Batch(texts_of(lengths, seed), first_counter, key=random.Random(seed).randbytes(32), seed=seed)
    assert batch.seals(aead)
    received, noise = bytearray(batch.sealed), random.Random(seed)
    for victim in forged & set(range(len(lengths))):
        at, length = batch.places[victim]
        received[at + noise.randrange(length + TAG_LEN)] ^= 1 << noise.randrange(8)
    assert batch.opens(aead, received, [i not in forged for i in range(len(lengths))])


@every_backend
def test_neither_reads_nor_writes_beyond_its_texts(aead: str) -> None:
    """Texts that end, or begin, where the memory does: a wider access would end the process."""
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 3 * page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for guard in (base, base + 2 * page):
        assert libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0
    middle = (ctypes.c_char * page).from_address(base + page)
    view = memoryview(middle).cast("B")
    try:
        for length in (*range(70), 127, 128, 129, 1023, 1024, 1025, 1420):
            text = texts_of([length], length)[0]
            sealed = reference(KEY, 9, text)
            for offset in (0, page - length - TAG_LEN):
                view[offset : offset + length] = text
                seal_texts(aead, KEY, 9, view, [(offset, length)])
                assert bytes(view[offset : offset + len(sealed)]) == sealed
                assert open_texts(aead, KEY, [9], view, [(offset, length)]) == [True]
                assert bytes(view[offset : offset + length]) == text
    finally:
        libc.mprotect(ctypes.c_void_p(base), ctypes.c_size_t(3 * page), mmap.PROT_READ | mmap.PROT_WRITE)


@every_backend
def test_what_the_hooks_refuse(aead: str) -> None:
    buffer = bytearray(64)
    with pytest.raises(ValueError, match="'sse' is not known"):
        seal_texts("sse", KEY, 0, buffer, [])
    with pytest.raises(ValueError, match="32 bytes"):
        seal_texts(aead, KEY[1:], 0, buffer, [])
    for place in ((0, 49), (49, 0), (-1, 3), (3, -1)):
        with pytest.raises(ValueError, match="fit into the buffer"):
            seal_texts(aead, KEY, 0, buffer, [place])
    with pytest.raises(ValueError, match="at most 64"):
        seal_texts(aead, KEY, 0, buffer, [(0, 0)] * 65)
    with pytest.raises(ValueError, match="its counter"):
        open_texts(aead, KEY, [], buffer, [(0, 0)])


class Case(NamedTuple):
    """One of Wycheproof's, with a nonce of the length that ours has."""

    number: int
    key: bytes
    nonce: bytes
    aad: bytes
    text: bytes
    sealed: bytes
    tag: bytes
    valid: bool


def wycheproof_cases() -> list[Case]:
    cases = []
    for one in wycheproof("chacha20_poly1305_test.json"):
        key, nonce, aad, text, sealed, tag = (bytes.fromhex(one[n]) for n in ("key", "iv", "aad", "msg", "ct", "tag"))
        cases.append(Case(one["tcId"], key, nonce, aad, text, sealed, tag, one["result"] == "valid"))
    return [case for case in cases if len(case.nonce) == 12]


@every_backend
def test_wycheproof_texts(aead: str) -> None:
    """Where the nonce has our shape; the tags where there is no associated data."""
    cases = [case for case in wycheproof_cases() if case.nonce[:4] == bytes(4) and case.valid]
    assert cases
    for case in cases:
        buffer = bytearray(case.text + bytes(TAG_LEN))
        seal_texts(aead, case.key, int.from_bytes(case.nonce[4:], "little"), buffer, [(0, len(case.text))])
        assert buffer[:-TAG_LEN] == case.sealed, case.number
        assert case.aad or buffer[-TAG_LEN:] == case.tag, case.number


@every_kernel
def test_wycheproof_tags(level: int) -> None:
    """All, through Poly1305 alone: they cover associated data."""
    cases = wycheproof_cases()
    assert len(cases) > 200
    for case in cases:
        covered = b"".join(part + bytes(-len(part) % 16) for part in (case.aad, case.sealed))
        covered += len(case.aad).to_bytes(8, "little") + len(case.sealed).to_bytes(8, "little")
        [computed] = poly1305(level, [one_time_key(case.key, case.nonce)], [covered])
        assert (computed == case.tag) is case.valid, case.number
