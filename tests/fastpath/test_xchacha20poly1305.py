"""XChaCha20-Poly1305 in C: the draft's vectors, Wycheproof's, and the core's own, which is put together otherwise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cookies import hchacha20, xseal
from tests.core import vectors
from tests.core.test_primitives import ADDITIONAL_DATA, KEY, SUNSCREEN
from tests.native import xchacha20poly1305 as xchacha

NONCE = bytes(range(0x40, 0x58))


def test_draft_section_2_2_1() -> None:
    nonce = bytes.fromhex("000000090000004a0000000031415927")
    expected = "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
    assert xchacha.subkey_of(bytes(range(32)), nonce).hex() == expected


def test_draft_appendix_a_3_1() -> None:
    sealed = bytes.fromhex(
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb"
        "731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452"
        "2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
        "21f9664c97637da9768812f615c68b13b52e"
        "c0875924c1c7987947deafd8780acf49"
    )
    assert xchacha.seal(KEY, NONCE, SUNSCREEN, ADDITIONAL_DATA) == sealed
    assert xchacha.open_(KEY, NONCE, sealed, ADDITIONAL_DATA) == SUNSCREEN


def test_wycheproof() -> None:
    for case in vectors.wycheproof("xchacha20_poly1305_test.json"):
        key, nonce, data, text, ciphertext, tag = (
            bytes.fromhex(case[field]) for field in ("key", "iv", "aad", "msg", "ct", "tag")
        )
        if len(nonce) != 24:
            with pytest.raises(ValueError, match="nonce"):
                xchacha.open_(key, nonce, ciphertext + tag, data)
        elif case["result"] == "valid":
            assert xchacha.seal(key, nonce, text, data) == ciphertext + tag, case["tcId"]
            assert xchacha.open_(key, nonce, ciphertext + tag, data) == text, case["tcId"]
        else:
            assert xchacha.open_(key, nonce, ciphertext + tag, data) is None, case["tcId"]


@given(
    key=st.binary(min_size=32, max_size=32),
    nonce=st.binary(min_size=24, max_size=24),
    text=st.binary(max_size=200),
    data=st.binary(max_size=64),
)
def test_agrees_with_the_cores(key: bytes, nonce: bytes, text: bytes, data: bytes) -> None:
    sealed = xseal(key, nonce, text, data)
    assert xchacha.subkey_of(key, nonce[:16]) == hchacha20(key, nonce[:16])
    assert xchacha.seal(key, nonce, text, data) == sealed
    assert xchacha.open_(key, nonce, sealed, data) == text


def test_every_flipped_bit_of_a_sealed_cookie_and_its_mac1_is_noticed() -> None:
    cookie, mac1 = bytes(range(16)), bytes(range(16, 32))
    sealed = xchacha.seal(KEY, NONCE, cookie, mac1)
    assert xchacha.open_(KEY, NONCE, sealed, mac1) == cookie
    for bit in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        assert xchacha.open_(KEY, NONCE, bytes(flipped), mac1) is None
    for bit in range(len(mac1) * 8):
        flipped = bytearray(mac1)
        flipped[bit // 8] ^= 1 << bit % 8
        assert xchacha.open_(KEY, NONCE, sealed, bytes(flipped)) is None
    assert xchacha.open_(KEY, NONCE, sealed[:15], mac1) is None


@pytest.mark.parametrize(("key_len", "nonce_len"), [(31, 24), (33, 24), (32, 23), (32, 25), (0, 0)])
def test_lengths(key_len: int, nonce_len: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        xchacha.seal(bytes(key_len), bytes(nonce_len), b"", b"")
    with pytest.raises(ValueError, match="32 bytes"):
        xchacha.open_(bytes(key_len), bytes(nonce_len), bytes(16), b"")
    with pytest.raises(ValueError, match="32 bytes"):
        xchacha.subkey_of(bytes(key_len), bytes(nonce_len))
