"""What sealing and opening leave behind in their thread and in a library's context: nothing that depends on the key.

Two batches that differ in their key alone leave the same bytes on the stack and in the registers: whatever derives from
a key, in whatever form, would differ. Texts on the wire are no secret, and yet none is left either.
"""

import secrets
from itertools import pairwise

import pytest

from tests.aead import KERNELS, every_backend
from tests.native import residue
from tests.native.residue import AeadResidue

pytestmark = pytest.mark.skipif(not residue.here(), reason="registers are known for x86-64 with AVX alone")

TAG_LEN = 16
SHAPES = {
    "a full batch": [1420] * 64,
    "lengths of all kinds": [64, 0, 700, 1408, 16, 1, 2047],
    "one byte": [1],
    "one packet more than a group": [100] * 17,
}
every_shape = pytest.mark.parametrize("shape", SHAPES)
directions = pytest.mark.parametrize("seals", [True, False], ids=["seal", "open"])


def given(aead: str, key: bytes, texts: list[bytes], *, seals: bool) -> list[bytes]:
    """What to seal, or to open, so that it is of the same texts."""
    return texts if seals else AeadResidue(aead, seals=True).run(key, texts)[2]


def left(aead: str, shape: str, *, seals: bool, forgets: bool = True) -> tuple[bool, bool, bool]:
    """Whether what is left of two keys differs: in the registers, on the stack, in the context."""
    batches = AeadResidue(aead, seals=seals, forgets=forgets)
    texts = [secrets.token_bytes(length) for length in SHAPES[shape]]
    found = []
    for key in (bytes(32), secrets.token_bytes(32), secrets.token_bytes(32)):  # the first makes the context
        registers, stack, after = batches.run(key, given(aead, key, texts, seals=seals))
        found.append((registers, stack, batches.context().replace(after[-1][-TAG_LEN:], b"")))  # that is on the wire
        assert bool(found[-1][2]) == (aead not in KERNELS), "a context is kept, as making one costs too much"
    (one, other) = list(pairwise(found))[1]
    return one[0] != other[0], one[1] != other[1], one[2] != other[2]


@every_backend
@every_shape
@directions
def test_nothing_of_a_key_is_left(aead: str, shape: str, *, seals: bool) -> None:
    assert left(aead, shape, seals=seals) == (False, False, False)


@every_backend
@every_shape
@directions
def test_nor_is_anything_where_tags_are_wrong(aead: str, shape: str, *, seals: bool) -> None:
    del seals
    batches = AeadResidue(aead, seals=False)
    texts = [secrets.token_bytes(length + TAG_LEN) for length in SHAPES[shape]]
    found = [(*batches.run(key, texts)[:2], batches.context()) for key in (bytes(32), b"k" * 32, b"q" * 32)]
    assert found[1] == found[2]


@every_backend
def test_the_comparison_finds_what_is_kept(aead: str) -> None:
    registers, stack, context = left(aead, "lengths of all kinds", seals=True, forgets=False)
    assert registers
    assert stack or aead not in KERNELS
    assert context or aead != "libcrypto"
