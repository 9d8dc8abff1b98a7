"""Every backend of the AEAD beside `cryptography`: lengths, batches, mixed lengths, counters, places, forgeries."""

import random

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.poly1305 import Poly1305

from tests.aead import HERE, KERNELS
from tests.fastpath.plane_harness import seal
from tests.fuzz.engine import Attempt
from tests.native.aead import open_batch, open_texts, seal_batch, seal_texts
from tests.native.aead import poly1305 as tags_of

TAG_LEN = 16
COUNTERS = (0, 1, 2**32 - 30, 2**32, 2**63, 2**64 - 2**13 - 200)
EDGES = (0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 191, 192, 255, 256, 257, 1279, 1280, 1420, 2047, 2048)


def lengths(chance: random.Random, count: int) -> list[int]:
    """All alike, with a shorter last one (as a superframe's are), or all mixed."""
    longest = chance.choice([chance.choice(EDGES), chance.randint(0, 2048), chance.randint(0, 200)])
    match chance.randrange(4):
        case 0:
            return [longest] * count
        case 1:
            return [longest] * (count - 1) + [chance.randint(0, longest)]
        case 2:
            return [chance.choice(EDGES) for _ in range(count)]
        case _:
            return [chance.randint(0, longest) for _ in range(count)]


def texts(chance: random.Random, count: int) -> list[bytes]:
    """Random ones, or ones of which Poly1305's carries are longest."""
    fill = chance.choice([None, None, b"\x00", b"\xff"])
    return [chance.randbytes(length) if fill is None else fill * length for length in lengths(chance, count)]


def forge(chance: random.Random, data: bytes) -> bytes:
    """One bit of the text or the tag is another."""
    changed = bytearray(data)
    at = chance.choice([chance.randrange(len(data)), len(data) - 1 - chance.randrange(TAG_LEN)])
    changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed)


def batches(attempt: Attempt) -> None:
    """As the data plane calls them, whole messages with their headers. What is padded is the caller's business here."""
    chance = attempt.random
    backend = chance.choice(HERE)
    key, index = chance.randbytes(32), chance.getrandbits(32)
    packets = [
        text + bytes(-len(text) % 16) for text in texts(chance, chance.choice([1, 2, 15, 16, 17, 63, 64, 65, 130]))
    ]
    counter = chance.choice([*COUNTERS, chance.getrandbits(48)])
    attempt.inputs |= {"backend": backend, "key": key, "counter": counter, "packets": packets}
    sealed = seal_batch(backend, key, counter, packets, index)
    assert sealed == [seal(key, index, counter + i, packet) for i, packet in enumerate(packets)]
    forged = {i for i in range(len(packets)) if chance.random() < chance.choice([0, 0.1, 0.9])}
    received = [one[:16] + forge(chance, one[16:]) if i in forged else one for i, one in enumerate(sealed)]
    attempt.inputs["received"] = received
    assert open_batch(backend, key, received) == [None if i in forged else one for i, one in enumerate(packets)]


def places(attempt: Attempt) -> None:
    """Without headers, on texts at any alignment with bytes between them that must stay."""
    chance = attempt.random
    backend, key = chance.choice(HERE), chance.randbytes(32)
    plain = texts(chance, chance.randint(1, 64))
    counter = chance.choice([*COUNTERS, chance.getrandbits(48)])
    buffer, where = bytearray(), []
    for text in plain:
        buffer += chance.randbytes(chance.randrange(70))
        where.append((len(buffer), len(text)))
        buffer += text + chance.randbytes(TAG_LEN)
    buffer += chance.randbytes(5)
    expected = bytearray(buffer)
    aead = ChaCha20Poly1305(key)
    nonces = [bytes(4) + (counter + i).to_bytes(8, "little") for i in range(len(plain))]
    for nonce, (at, length), text in zip(nonces, where, plain, strict=True):
        expected[at : at + length + TAG_LEN] = aead.encrypt(nonce, text, None)
    attempt.inputs |= {"backend": backend, "key": key, "counter": counter, "places": where, "buffer": bytes(buffer)}
    seal_texts(backend, key, counter, buffer, where)
    assert buffer == expected

    forged = {i for i in range(len(plain)) if chance.random() < 0.2}
    for i in forged:
        at, length = where[i]
        buffer[at : at + length + TAG_LEN] = forge(chance, bytes(buffer[at : at + length + TAG_LEN]))
    expected = bytearray(buffer)
    for i, (at, length) in enumerate(where):
        if i not in forged:
            expected[at : at + length] = plain[i]
    attempt.inputs["sealed"] = bytes(buffer)
    counters = [counter + i for i in range(len(plain))]
    assert open_texts(backend, key, counters, buffer, where) == [i not in forged for i in range(len(plain))]
    for i in forged if backend not in KERNELS else ():
        at, length = where[i]
        buffer[at : at + length] = expected[at : at + length]
    assert buffer == expected


def poly1305(attempt: Attempt) -> None:
    """The authenticator alone, with the keys and blocks whose carries are rare."""
    chance = attempt.random
    levels = [level for name, level in KERNELS.items() if name in HERE]
    if not levels:
        return
    special = [bytes(16), b"\xff" * 16, b"\xfb" + b"\xff" * 15, b"\xff" * 8 + bytes(8), bytes(15) + b"\x80"]
    level, count = chance.choice(levels), chance.randint(1, 16)
    keys = [
        chance.choice([*special, chance.randbytes(16)]) + chance.choice([*special, chance.randbytes(16)])
        for _ in range(count)
    ]
    messages = [
        b"".join(chance.choice([*special, chance.randbytes(16)]) for _ in range(chance.randrange(40)))
        for _ in range(count)
    ]
    attempt.inputs |= {"level": level, "keys": keys, "messages": messages}
    expected = [Poly1305.generate_tag(key, message) for key, message in zip(keys, messages, strict=True)]
    assert tags_of(level, keys, messages) == expected


def case(attempt: Attempt) -> None:
    attempt.random.choice([batches, places, poly1305])(attempt)
