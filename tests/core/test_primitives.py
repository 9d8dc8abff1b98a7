"""The primitives, as the core uses them, against the vectors of their RFCs and, with extra vectors, of Wycheproof."""

import hashlib
import hmac as standard_hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywg.core import crypto
from pywg.dataplane.crypto.secret import Secret
from tests.cookies import hchacha20, xseal
from tests.core import vectors

SUNSCREEN = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you "
    b"only one tip for the future, sunscreen would be it."
)
KEY = bytes(range(0x80, 0xA0))
ADDITIONAL_DATA = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")


def x25519(scalar: bytes, point: bytes) -> bytes | None:
    return crypto.dh(crypto.private_key_from(Secret(scalar)), point)


@pytest.mark.parametrize(
    ("scalar", "point", "shared"),
    [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ],
)
def test_rfc7748_section_5_2_single(scalar: str, point: str, shared: str) -> None:
    assert x25519(bytes.fromhex(scalar), bytes.fromhex(point)) == bytes.fromhex(shared)


def test_rfc7748_section_5_2_iterated() -> None:
    k = u = (9).to_bytes(32, "little")
    for count in range(1, 1001):
        result = x25519(k, u)
        assert result is not None
        k, u = result, k
        if count == 1:
            assert k.hex() == "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
    assert k.hex() == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


def test_rfc7748_section_6_1() -> None:
    alice = crypto.private_key_from(
        Secret(bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
    )
    bob = crypto.private_key_from(
        Secret(bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
    )
    alice_public, bob_public = crypto.public_key_of(alice), crypto.public_key_of(bob)
    assert alice_public.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert bob_public.hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert crypto.dh(alice, bob_public) == crypto.dh(bob, alice_public) == bytes.fromhex(shared)


def test_a_private_key_whose_public_one_is_known_is_the_same_key() -> None:
    public = crypto.public_key_of(crypto.private_key_from(Secret(KEY)))
    known = crypto.private_key_from(Secret(KEY), public)
    assert crypto.public_key_of(known) == public
    point = b"\x09" + bytes(31)
    assert crypto.dh(known, point) == x25519(KEY, point) == public
    for length in (0, 31, 33):
        with pytest.raises(ValueError, match=f"a public key has 32 bytes, and not {length}"):
            crypto.private_key_from(Secret(KEY), bytes(length))


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"])
def test_points_of_low_order_give_no_secret(point: bytes) -> None:
    assert x25519(b"\x42" * 32, point) is None
    assert x25519(b"\x42" * 32, b"\x09" + bytes(31)) is not None


def test_rfc8439_section_2_8_2() -> None:
    nonce = bytes.fromhex("070000004041424344454647")
    ciphertext = bytes.fromhex(
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
        "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
        "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
        "3ff4def08e4b7a9de576d26586cec64b6116"
        "1ae10b594f09e26a7e902ecbd0600691"
    )
    assert crypto.seal(KEY, SUNSCREEN, ADDITIONAL_DATA, nonce) == ciphertext
    assert crypto.open_sealed(KEY, ciphertext, ADDITIONAL_DATA, nonce) == SUNSCREEN
    assert crypto.open_sealed(KEY, ciphertext, b"", nonce) is None
    assert crypto.open_sealed(KEY, ciphertext[:-1] + b"\0", ADDITIONAL_DATA, nonce) is None


def test_the_handshake_seals_with_counter_0() -> None:
    assert crypto.seal(KEY, SUNSCREEN, b"") == crypto.seal(KEY, SUNSCREEN, b"", bytes(12))


def test_rfc7693_appendix_b() -> None:
    expected = "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"
    assert crypto.blake2s_hash(b"abc").hex() == expected


def selftest_sequence(length: int, seed: int) -> bytes:
    """RFC 7693, appendix E: a Fibonacci generator."""
    a, b = (0xDEAD4BAD * seed) & 0xFFFFFFFF, 1
    out = bytearray()
    for _ in range(length):
        a, b = b, (a + b) & 0xFFFFFFFF
        out.append(b >> 24)
    return bytes(out)


def test_rfc7693_appendix_e() -> None:
    total = hashlib.blake2s()
    for digest_len in (16, 20, 28, 32):
        for length in (0, 3, 64, 65, 255, 1024):
            data = selftest_sequence(length, length)
            total.update(hashlib.blake2s(data, digest_size=digest_len).digest())
            total.update(crypto.keyed_mac(selftest_sequence(digest_len, digest_len), data, digest_len))
    assert total.hexdigest() == "6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe"


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_hmac_is_the_standard_construction(key: bytes, data: bytes) -> None:
    assert crypto.hmac(key, data) == standard_hmac.new(key, data, hashlib.blake2s).digest()


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64), st.integers(1, 3))
def test_hkdf_as_the_paper_writes_it(chaining_key: bytes, material: bytes, outputs: int) -> None:
    def mac(key: bytes, data: bytes) -> bytes:
        return standard_hmac.new(key, data, hashlib.blake2s).digest()

    t0 = mac(chaining_key, material)
    t1 = mac(t0, b"\x01")
    t2 = mac(t0, t1 + b"\x02")
    t3 = mac(t0, t2 + b"\x03")
    assert crypto.hkdf(chaining_key, material, outputs) == [t1, t2, t3][:outputs]


def test_xchacha_draft_section_2_2_1() -> None:
    nonce = bytes.fromhex("000000090000004a0000000031415927")
    expected = "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
    assert hchacha20(bytes(range(32)), nonce).hex() == expected


def test_xchacha_draft_appendix_a_3_1() -> None:
    nonce = bytes(range(0x40, 0x58))
    ciphertext = bytes.fromhex(
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb"
        "731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452"
        "2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
        "21f9664c97637da9768812f615c68b13b52e"
        "c0875924c1c7987947deafd8780acf49"
    )
    assert xseal(KEY, nonce, SUNSCREEN, ADDITIONAL_DATA) == ciphertext
    assert crypto.xopen(KEY, nonce, ciphertext, ADDITIONAL_DATA) == SUNSCREEN
    assert crypto.xopen(KEY, nonce, ciphertext, b"") is None


def test_wycheproof_x25519() -> None:
    for case in vectors.wycheproof("x25519_test.json"):
        public, private, shared = (bytes.fromhex(case[name]) for name in ("public", "private", "shared"))
        expected = shared if any(shared) else None
        assert x25519(private, public) == expected, case["tcId"]


@pytest.mark.parametrize("name", ["chacha20_poly1305_test.json", "xchacha20_poly1305_test.json"])
def test_wycheproof_aead(name: str) -> None:
    extended = name.startswith("x")
    for case in vectors.wycheproof(name):
        key, nonce, data, plaintext, ciphertext, tag = (
            bytes.fromhex(case[field]) for field in ("key", "iv", "aad", "msg", "ct", "tag")
        )
        if len(nonce) != (24 if extended else 12):
            assert case["result"] == "invalid", case["tcId"]
            with pytest.raises(ValueError, match=r"[Nn]once"):
                xseal(key, nonce, plaintext, data) if extended else crypto.seal(key, plaintext, data, nonce)
            continue
        sealed = xseal(key, nonce, plaintext, data) if extended else crypto.seal(key, plaintext, data, nonce)
        received = ciphertext + tag
        opened = (
            crypto.xopen(key, nonce, received, data) if extended else crypto.open_sealed(key, received, data, nonce)
        )
        if case["result"] == "valid":
            assert (sealed, opened) == (received, plaintext), case["tcId"]
        else:
            assert opened is None, case["tcId"]
            assert sealed != received, case["tcId"]
