"""Keys in base64, as wg reads and writes them."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywg.config.keys import clamp, format_key_base64, parse_key_base64
from pywg.errors import ConfigError

KEY = bytes(range(32))
BASE64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def test_known_text() -> None:
    assert parse_key_base64(BASE64, "it") == KEY
    assert format_key_base64(KEY) == BASE64


@given(st.binary(min_size=32, max_size=32))
def test_round_trip(key: bytes) -> None:
    text = format_key_base64(key)
    assert text == base64.b64encode(key).decode()
    for form in (text, text.encode(), bytearray(text.encode())):
        assert parse_key_base64(form, "it") == key


@given(st.text(alphabet="ABCXYZabcxyz0189+/", min_size=43, max_size=43).map(lambda text: text + "="))
def test_there_is_one_text_for_a_key(text: str) -> None:
    try:
        key = parse_key_base64(text, "it")
    except ConfigError:
        key = base64.b64decode(text)
        assert base64.b64encode(key).decode() != text
    else:
        assert format_key_base64(key) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        BASE64[:-1],
        BASE64 + "=",
        BASE64 + "\n",
        " " + BASE64[1:],
        BASE64[:-2] + "9=",
        BASE64[:-2] + "==",
        BASE64[:20] + "=" + BASE64[21:],
        BASE64[:20] + "-" + BASE64[21:],
        BASE64[:20] + "\N{LATIN SMALL LETTER E WITH ACUTE}" + BASE64[21:],
        BASE64[:-1] + "A",
        KEY.hex(),
        "=" * 44,
    ],
)
def test_not_a_key(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^PrivateKey must be a key of 44 characters of base64$") as caught:
        parse_key_base64(text, "PrivateKey")
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("length", [0, 31, 33])
def test_other_lengths_are_no_keys(length: int) -> None:
    with pytest.raises(ConfigError):
        format_key_base64(bytes(length))
    with pytest.raises(ConfigError):
        clamp(bytearray(length))


@given(st.binary(min_size=32, max_size=32))
def test_clamp_as_rfc_7748_decodes_a_scalar(random: bytes) -> None:
    key = bytearray(random)
    clamp(key)
    scalar = int.from_bytes(random, "little")
    scalar &= ~7
    scalar &= ~(128 << 8 * 31)
    scalar |= 64 << 8 * 31
    assert int.from_bytes(key, "little") == scalar
