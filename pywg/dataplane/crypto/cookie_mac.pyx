"""MAC1, MAC2 and cookies (cookie_mac.pxd)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from pywg.dataplane.crypto.blake2s cimport BLAKE2S_STATE_LEN, blake2s_key, blake2s_mac
from pywg.dataplane.crypto.secret cimport secret_alloc, secret_free
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.sys.libcrypto cimport CRYPTO_memcmp, OPENSSL_cleanse, RAND_bytes
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.limits cimport COOKIE_SECRET_MAX_AGE, COOKIE_SECRET_RENEWAL
from pywg.dataplane.wire.wireguard cimport KEY_LEN, MAC_LEN

from hashlib import blake2s as _blake2s

from pywg.dataplane.wire.limits import LABEL_COOKIE as _LABEL_COOKIE
from pywg.dataplane.wire.limits import LABEL_MAC1 as _LABEL_MAC1

cdef enum:
    ADDRESS_MAX = 18            # an IPv6 address and a port


def mac1_key(bytes public_key: bytes) -> bytes:
    """The key of mac1 in messages to the holder of `public_key`. No secret: it follows from the public key."""
    return _blake2s(_LABEL_MAC1 + public_key).digest()


def cookie_key(bytes public_key: bytes) -> bytes:
    """The key that cookies from the holder of `public_key` are sealed with. No secret: it follows from the public key.
    """
    return _blake2s(_LABEL_COOKIE + public_key).digest()


cdef int macs_init(Macs *macs) noexcept nogil:
    """0, or -1: no memory. Until macs_identify() gives a key, no MAC holds."""
    memset(macs, 0, sizeof(Macs))
    macs.secrets = secret_alloc()
    return 0 if macs.secrets != NULL else -1


cdef void macs_free(Macs *macs) noexcept nogil:
    secret_free(macs.secrets)
    macs.secrets = NULL


cdef void macs_identify(Macs *macs, const uint8_t *mac1_key, const uint8_t *cookie_key) noexcept nogil:
    """Sets other keys of KEY_LEN bytes, or NULL for none. Earlier cookies become invalid."""
    macs.has_key = mac1_key != NULL
    if macs.has_key:
        blake2s_key(macs.mac1_state, mac1_key, KEY_LEN)
        memcpy(macs.cookie_key, cookie_key, KEY_LEN)
    macs.secret_count = 0
    macs_forget(macs, 0)


cdef int macs_forget(Macs *macs, uint64_t now) noexcept nogil:
    """Wipes the secrets that are too old to be believed. How many are left. Under the receiving gate."""
    while macs.secret_count > 0 and now - macs.born_ns[macs.secret_count - 1] >= COOKIE_SECRET_MAX_AGE * SECOND_NS:
        macs.secret_count -= 1
    OPENSSL_cleanse(macs.secrets + macs.secret_count * BLAKE2S_STATE_LEN,
                    (SECRETS - macs.secret_count) * BLAKE2S_STATE_LEN)
    return macs.secret_count


cdef bint mac1_holds(Macs *macs, const uint8_t *message, uint32_t len) noexcept nogil:
    """Whether the message, whose last 32 bytes are mac1 and mac2, carries our MAC1."""
    cdef uint8_t digest[MAC_LEN]
    if not macs.has_key:
        return False
    blake2s_mac(macs.mac1_state, message, len - 2 * MAC_LEN, digest)
    return CRYPTO_memcmp(digest, mac1_of(message, len), MAC_LEN) == 0


cdef void cookie_under(Macs *macs, int secret, const Endpoint *source, uint8_t *cookie) noexcept nogil:
    cdef uint8_t address[ADDRESS_MAX]
    memcpy(address, source.ip, source.ip_len)
    memcpy(address + source.ip_len, &source.port, 2)
    blake2s_mac(macs.secrets + secret * BLAKE2S_STATE_LEN, address, source.ip_len + 2, cookie)


cdef bint mac2_holds(Macs *macs, const uint8_t *message, uint32_t len, const Endpoint *source,
                     uint64_t now) noexcept nogil:
    """Whether the message carries a MAC2 under a cookie of its source: a MAC over address and port."""
    cdef const uint8_t *mac2 = message + len - MAC_LEN
    cdef uint8_t cookie[COOKIE_LEN]
    cdef uint8_t state[BLAKE2S_STATE_LEN]
    cdef uint8_t digest[MAC_LEN]
    cdef bint holds = False
    cdef int i
    memset(digest, 0, MAC_LEN)
    if CRYPTO_memcmp(digest, mac2, MAC_LEN) == 0:       # zeros: the sender has no cookie
        return False
    for i in range(macs.secret_count):
        if now - macs.born_ns[i] >= COOKIE_SECRET_MAX_AGE * SECOND_NS:
            break
        cookie_under(macs, i, source, cookie)
        blake2s_key(state, cookie, COOKIE_LEN)
        blake2s_mac(state, message, len - MAC_LEN, digest)
        holds = CRYPTO_memcmp(digest, mac2, MAC_LEN) == 0
        if holds:
            break
    OPENSSL_cleanse(cookie, COOKIE_LEN)
    OPENSSL_cleanse(state, BLAKE2S_STATE_LEN)
    return holds


cdef bint make_cookie(Macs *macs, const Endpoint *source, uint64_t now, uint8_t *cookie) noexcept nogil:
    """Writes the cookie of this source, with a new secret if one is due. False: the system has no random bytes."""
    cdef uint8_t secret[KEY_LEN]
    if macs.secret_count == 0 or now - macs.born_ns[0] >= COOKIE_SECRET_RENEWAL * SECOND_NS:
        if RAND_bytes(secret, KEY_LEN) != 1:
            return False
        memcpy(macs.secrets + BLAKE2S_STATE_LEN, macs.secrets, BLAKE2S_STATE_LEN)
        macs.born_ns[1] = macs.born_ns[0]
        blake2s_key(macs.secrets, secret, KEY_LEN)
        OPENSSL_cleanse(secret, KEY_LEN)
        macs.born_ns[0] = now
        macs.secret_count = min(macs.secret_count + 1, SECRETS)
    cookie_under(macs, 0, source, cookie)
    return True
