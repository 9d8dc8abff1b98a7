"""XChaCha20-Poly1305, which seals the cookies in cookie replies, on plain bytes."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t

from pywg.dataplane.crypto.xchacha20poly1305 cimport XNONCE_LEN, hchacha20, xchacha_open, xchacha_seal
from pywg.dataplane.wire.wireguard cimport KEY_LEN, TAG_LEN


def subkey_of(bytes key: bytes, bytes nonce: bytes) -> bytes:
    """HChaCha20 of a key of 32 bytes and a nonce of 16; ValueError for other lengths."""
    cdef uint8_t subkey[KEY_LEN]
    if len(key) != KEY_LEN or len(nonce) != 16:
        raise ValueError("a key is 32 bytes, a nonce of HChaCha20 16")
    hchacha20(<const uint8_t *>PyBytes_AS_STRING(key), <const uint8_t *>PyBytes_AS_STRING(nonce), subkey)
    return PyBytes_FromStringAndSize(<const char *>subkey, KEY_LEN)


cdef int check_lengths(bytes key, bytes nonce) except -1:
    if len(key) != KEY_LEN or len(nonce) != XNONCE_LEN:
        raise ValueError("a key is 32 bytes, a nonce of XChaCha20 24")
    return 0


def seal(bytes key: bytes, bytes nonce: bytes, bytes text: bytes, bytes data: bytes) -> bytes:
    """The sealed text and its tag, with `data` authenticated beside it; ValueError for a wrong length."""
    cdef bytes sealed = PyBytes_FromStringAndSize(NULL, len(text) + TAG_LEN)
    check_lengths(key, nonce)
    xchacha_seal(<uint8_t *>PyBytes_AS_STRING(key), <uint8_t *>PyBytes_AS_STRING(nonce),
                 <uint8_t *>PyBytes_AS_STRING(text), <uint32_t>len(text),
                 <uint8_t *>PyBytes_AS_STRING(data), <uint32_t>len(data), <uint8_t *>PyBytes_AS_STRING(sealed))
    return sealed


def open_(bytes key: bytes, bytes nonce: bytes, bytes sealed: bytes, bytes data: bytes) -> bytes | None:
    """The text of what `seal` made; None: the tag is wrong, or there is none. ValueError for a wrong length."""
    cdef bytes text
    check_lengths(key, nonce)
    if len(sealed) < TAG_LEN:
        return None
    text = PyBytes_FromStringAndSize(NULL, len(sealed) - TAG_LEN)
    if not xchacha_open(<uint8_t *>PyBytes_AS_STRING(key), <uint8_t *>PyBytes_AS_STRING(nonce),
                        <uint8_t *>PyBytes_AS_STRING(sealed), <uint32_t>len(sealed),
                        <uint8_t *>PyBytes_AS_STRING(data), <uint32_t>len(data), <uint8_t *>PyBytes_AS_STRING(text)):
        return None
    return text
