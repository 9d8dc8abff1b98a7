"""Keys as text for people: 44 characters of base64, as in wg(8).

No error of this module repeats any of the text it was given.
"""

from binascii import a2b_base64, b2a_base64

from pywg.constants import KEY_LEN
from pywg.errors import ConfigError

BASE64_LEN = 44
_LAST_CHARACTERS = b"AEIMQUYcgkosw048"
"""The 43rd character carries four bits; one with more set would be a second spelling of the same key."""


def parse_key_base64(text: str | bytes | bytearray, what: str) -> bytes:
    """The 32 bytes of a key written in base64.

    `what` names the key in the error. ConfigError: anything but the one canonical spelling of 32 bytes.
    """
    wrong = ConfigError(f"{what} must be a key of {BASE64_LEN} characters of base64")
    try:
        encoded = text.encode("ascii") if isinstance(text, str) else text
        if len(encoded) != BASE64_LEN or encoded[42] not in _LAST_CHARACTERS:
            raise wrong
        key = a2b_base64(encoded, strict_mode=True)
    except ConfigError:
        raise
    except ValueError:
        raise wrong from None
    if len(key) != KEY_LEN:
        raise wrong
    return key


def format_key_base64(key: bytes | bytearray) -> str:
    """The canonical base64 text of a 32-byte key."""
    if len(key) != KEY_LEN:
        raise ConfigError(f"a key has {KEY_LEN} bytes, not {len(key)}")
    return b2a_base64(key, newline=False).decode("ascii")


def clamp(key: bytearray | memoryview) -> None:
    """Make 32 random bytes a Curve25519 private key, in place (RFC 7748 section 5)."""
    if len(key) != KEY_LEN:
        raise ConfigError(f"a key has {KEY_LEN} bytes, not {len(key)}")
    key[0] &= 0xF8
    key[31] = key[31] & 0x7F | 0x40
