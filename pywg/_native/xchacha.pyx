"""XChaCha20-Poly1305 (xchacha.pxd), and on plain bytes for tests."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset
from pywg._native.libcrypto cimport EVP_CTRL_AEAD_GET_TAG, EVP_CTRL_AEAD_SET_TAG, EVP_chacha20_poly1305
from pywg._native.libcrypto cimport EVP_CIPHER_CTX_ctrl, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_CipherInit_ex
from pywg._native.libcrypto cimport EVP_DecryptFinal_ex, EVP_DecryptUpdate, EVP_EncryptFinal_ex, EVP_EncryptUpdate
from pywg._native.wire cimport KEY_LEN, TAG_LEN

cdef enum:
    SHORT_NONCE_LEN = 12
    DOUBLE_ROUNDS = 10


cdef int xchacha_init(XChaCha *x) noexcept nogil:
    """0, or -1: no memory, or libcrypto has no ChaCha20-Poly1305."""
    x.ctx = EVP_CIPHER_CTX_new()
    if x.ctx == NULL:
        return -1
    return 0 if EVP_CipherInit_ex(x.ctx, EVP_chacha20_poly1305(), NULL, NULL, NULL, 1) == 1 else -1


cdef void xchacha_free(XChaCha *x) noexcept nogil:
    """Also of one that is all zeros, or whose init failed."""
    EVP_CIPHER_CTX_free(x.ctx)
    x.ctx = NULL


cdef inline uint32_t rotated(uint32_t word, int by) noexcept nogil:
    return word << by | word >> (32 - by)


cdef inline void quarter_round(uint32_t *state, int a, int b, int c, int d) noexcept nogil:
    """RFC 8439 section 2.1."""
    state[a] += state[b]
    state[d] = rotated(state[d] ^ state[a], 16)
    state[c] += state[d]
    state[b] = rotated(state[b] ^ state[c], 12)
    state[a] += state[b]
    state[d] = rotated(state[d] ^ state[a], 8)
    state[c] += state[d]
    state[b] = rotated(state[b] ^ state[c], 7)


cdef void hchacha20(const uint8_t *key, const uint8_t *nonce, uint8_t *subkey) noexcept nogil:
    """The draft's section 2.2: 32 bytes from a key of 32 and a nonce of 16. Words are little-endian (wire.pxd)."""
    cdef uint32_t state[16]
    cdef int _
    state[0] = 0x61707865       # "expand 32-byte k"
    state[1] = 0x3320646E
    state[2] = 0x79622D32
    state[3] = 0x6B206574
    memcpy(&state[4], key, KEY_LEN)
    memcpy(&state[12], nonce, 16)
    for _ in range(DOUBLE_ROUNDS):
        quarter_round(state, 0, 4, 8, 12)
        quarter_round(state, 1, 5, 9, 13)
        quarter_round(state, 2, 6, 10, 14)
        quarter_round(state, 3, 7, 11, 15)
        quarter_round(state, 0, 5, 10, 15)
        quarter_round(state, 1, 6, 11, 12)
        quarter_round(state, 2, 7, 8, 13)
        quarter_round(state, 3, 4, 9, 14)
    memcpy(subkey, &state[0], 16)
    memcpy(subkey + 16, &state[12], 16)


cdef bint start(XChaCha *x, const uint8_t *key, const uint8_t *nonce, bint seals) noexcept nogil:
    """Gives the context the key and the nonce to use for this 24-byte nonce."""
    cdef uint8_t subkey[KEY_LEN]
    cdef uint8_t short_nonce[SHORT_NONCE_LEN]
    hchacha20(key, nonce, subkey)
    memset(short_nonce, 0, 4)
    memcpy(short_nonce + 4, nonce + 16, 8)
    return EVP_CipherInit_ex(x.ctx, NULL, NULL, subkey, short_nonce, seals) == 1


cdef bint xchacha_seal(XChaCha *x, const uint8_t *key, const uint8_t *nonce, const uint8_t *text, int text_len,
                       const uint8_t *data, int data_len, uint8_t *sealed) noexcept nogil:
    """Writes text_len + TAG_LEN bytes to `sealed`. False: libcrypto failed."""
    cdef int n = 0
    return (start(x, key, nonce, True)
            and EVP_EncryptUpdate(x.ctx, NULL, &n, data, data_len) == 1
            and EVP_EncryptUpdate(x.ctx, sealed, &n, text, text_len) == 1
            and EVP_EncryptFinal_ex(x.ctx, sealed + text_len, &n) == 1
            and EVP_CIPHER_CTX_ctrl(x.ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, sealed + text_len) == 1)


cdef bint xchacha_open(XChaCha *x, const uint8_t *key, const uint8_t *nonce, const uint8_t *sealed, int sealed_len,
                       const uint8_t *data, int data_len, uint8_t *text) noexcept nogil:
    """Writes sealed_len - TAG_LEN bytes to `text`, which are garbage when the tag is wrong: False."""
    cdef int n = 0
    cdef int text_len = sealed_len - TAG_LEN
    return (start(x, key, nonce, False)
            and EVP_CIPHER_CTX_ctrl(x.ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, <void *>(sealed + text_len)) == 1
            and EVP_DecryptUpdate(x.ctx, NULL, &n, data, data_len) == 1
            and EVP_DecryptUpdate(x.ctx, text, &n, sealed, text_len) == 1
            and EVP_DecryptFinal_ex(x.ctx, text + text_len, &n) == 1)


# ---- on plain bytes

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
    cdef XChaCha x
    cdef bint done
    check_lengths(key, nonce)
    done = (xchacha_init(&x) == 0
            and xchacha_seal(&x, <uint8_t *>PyBytes_AS_STRING(key), <uint8_t *>PyBytes_AS_STRING(nonce),
                             <uint8_t *>PyBytes_AS_STRING(text), <int>len(text),
                             <uint8_t *>PyBytes_AS_STRING(data), <int>len(data), <uint8_t *>PyBytes_AS_STRING(sealed)))
    xchacha_free(&x)
    if not done:
        raise MemoryError("libcrypto failed")
    return sealed


def open_(bytes key: bytes, bytes nonce: bytes, bytes sealed: bytes, bytes data: bytes) -> bytes | None:
    """The text of what `seal` made; None: the tag is wrong, or there is none. ValueError for a wrong length."""
    cdef bytes text
    cdef XChaCha x
    cdef bint done
    check_lengths(key, nonce)
    if len(sealed) < TAG_LEN:
        return None
    text = PyBytes_FromStringAndSize(NULL, len(sealed) - TAG_LEN)
    done = (xchacha_init(&x) == 0
            and xchacha_open(&x, <uint8_t *>PyBytes_AS_STRING(key), <uint8_t *>PyBytes_AS_STRING(nonce),
                             <uint8_t *>PyBytes_AS_STRING(sealed), <int>len(sealed),
                             <uint8_t *>PyBytes_AS_STRING(data), <int>len(data), <uint8_t *>PyBytes_AS_STRING(text)))
    xchacha_free(&x)
    return text if done else None
