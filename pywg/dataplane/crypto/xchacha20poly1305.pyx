"""XChaCha20-Poly1305. Words are little-endian, as wireguard.pxd asserts."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from pywg.dataplane.crypto.poly1305 cimport Poly1305, poly1305_block, poly1305_finish, poly1305_padded, poly1305_start
from pywg.dataplane.sys.libcrypto cimport CRYPTO_memcmp
from pywg.dataplane.wire.wireguard cimport KEY_LEN, TAG_LEN

cdef enum:
    CHACHA_BLOCK_LEN = 64
    DOUBLE_ROUNDS = 10


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


cdef void start(uint32_t *state, const uint8_t *key) noexcept nogil:
    """Fills the first three of four rows; the last is counter and nonce (RFC 8439 section 2.3)."""
    state[0] = 0x61707865       # "expand 32-byte k"
    state[1] = 0x3320646E
    state[2] = 0x79622D32
    state[3] = 0x6B206574
    memcpy(&state[4], key, KEY_LEN)


cdef void permute(uint32_t *state) noexcept nogil:
    cdef int _
    for _ in range(DOUBLE_ROUNDS):
        quarter_round(state, 0, 4, 8, 12)
        quarter_round(state, 1, 5, 9, 13)
        quarter_round(state, 2, 6, 10, 14)
        quarter_round(state, 3, 7, 11, 15)
        quarter_round(state, 0, 5, 10, 15)
        quarter_round(state, 1, 6, 11, 12)
        quarter_round(state, 2, 7, 8, 13)
        quarter_round(state, 3, 4, 9, 14)


cdef void hchacha20(const uint8_t *key, const uint8_t *nonce, uint8_t *subkey) noexcept nogil:
    """The draft's section 2.2: 32 bytes from a key of 32 and a nonce of 16."""
    cdef uint32_t state[16]
    start(state, key)
    memcpy(&state[12], nonce, 16)
    permute(state)
    memcpy(subkey, &state[0], 16)
    memcpy(subkey + 16, &state[12], 16)


cdef void chacha20(const uint8_t *key, uint32_t counter, const uint8_t *nonce, uint8_t *block) noexcept nogil:
    """Writes a block of the key stream. `nonce`: the last 8 bytes; the 4 before them are zeros."""
    cdef uint32_t state[16]
    cdef uint32_t mixed[16]
    cdef int i
    start(state, key)
    state[12] = counter
    state[13] = 0
    memcpy(&state[14], nonce, 8)
    memcpy(mixed, state, CHACHA_BLOCK_LEN)
    permute(mixed)
    for i in range(16):
        mixed[i] += state[i]
    memcpy(block, mixed, CHACHA_BLOCK_LEN)


cdef void apply_stream(const uint8_t *subkey, const uint8_t *nonce, const uint8_t *text, uint32_t text_len,
                       uint8_t *out) noexcept nogil:
    cdef uint8_t block[CHACHA_BLOCK_LEN]
    cdef uint32_t at
    for at in range(text_len):
        if at % CHACHA_BLOCK_LEN == 0:
            chacha20(subkey, 1 + at // CHACHA_BLOCK_LEN, nonce + 16, block)
        out[at] = text[at] ^ block[at % CHACHA_BLOCK_LEN]


cdef void authenticate(const uint8_t *subkey, const uint8_t *nonce, const uint8_t *ciphertext, uint32_t text_len,
                       const uint8_t *data, uint32_t data_len, uint8_t *tag) noexcept nogil:
    """Writes the tag of RFC 8439 section 2.8."""
    cdef uint8_t block[CHACHA_BLOCK_LEN]
    cdef uint64_t lengths[2]
    cdef Poly1305 poly
    chacha20(subkey, 0, nonce + 16, block)
    poly1305_start(&poly, block)
    poly1305_padded(&poly, data, data_len)
    poly1305_padded(&poly, ciphertext, text_len)
    lengths[0] = data_len
    lengths[1] = text_len
    poly1305_block(&poly, <const uint8_t *>lengths)
    poly1305_finish(&poly, tag)


cdef void xchacha_seal(const uint8_t *key, const uint8_t *nonce, const uint8_t *text, uint32_t text_len,
                       const uint8_t *data, uint32_t data_len, uint8_t *sealed) noexcept nogil:
    """Writes text_len + TAG_LEN bytes to `sealed`."""
    cdef uint8_t subkey[KEY_LEN]
    hchacha20(key, nonce, subkey)
    apply_stream(subkey, nonce, text, text_len, sealed)
    authenticate(subkey, nonce, sealed, text_len, data, data_len, sealed + text_len)


cdef bint xchacha_open(const uint8_t *key, const uint8_t *nonce, const uint8_t *sealed, uint32_t sealed_len,
                       const uint8_t *data, uint32_t data_len, uint8_t *text) noexcept nogil:
    """Writes sealed_len - TAG_LEN bytes to `text`. False: the tag is wrong, and nothing is written."""
    cdef uint8_t subkey[KEY_LEN]
    cdef uint8_t tag[TAG_LEN]
    cdef uint32_t text_len = sealed_len - TAG_LEN
    hchacha20(key, nonce, subkey)
    authenticate(subkey, nonce, sealed, text_len, data, data_len, tag)
    if CRYPTO_memcmp(tag, sealed + text_len, TAG_LEN) != 0:
        return False
    apply_stream(subkey, nonce, sealed, text_len, text)
    return True
