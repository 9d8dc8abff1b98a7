"""What the handshake takes of a library, for Python: X25519 (RFC 7748) and ChaCha20-Poly1305 (RFC 8439) of libcrypto.

The data plane has that library loaded already; one more of the kind would be most of a small daemon's memory and a good
part of its start. And what Python would do with a table: HMAC's blocks. A result is a bytes object that nothing else
refers to: the caller's to wipe.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize, PyBytes_Size
from libc.limits cimport INT_MAX
from libc.stdint cimport uint8_t
from libc.string cimport memset

cimport cython

from pywg.dataplane.crypto.xchacha20poly1305 cimport XNONCE_LEN, xchacha_open
from pywg.dataplane.sys.libcrypto cimport (
    ERR_clear_error, EVP_CIPHER_CTX, EVP_CIPHER_CTX_ctrl, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_CipherInit_ex,
    EVP_CipherUpdate, EVP_CTRL_AEAD_GET_TAG, EVP_CTRL_AEAD_SET_TAG, EVP_DecryptFinal_ex, EVP_EncryptFinal_ex, EVP_PKEY,
    EVP_PKEY_CTX, EVP_PKEY_CTX_free, EVP_PKEY_CTX_new, EVP_PKEY_CTX_new_id, EVP_PKEY_derive, EVP_PKEY_derive_init,
    EVP_PKEY_derive_set_peer, EVP_PKEY_free, EVP_PKEY_fromdata, EVP_PKEY_fromdata_init, EVP_PKEY_get_raw_public_key,
    EVP_PKEY_KEYPAIR, EVP_PKEY_new_raw_private_key, EVP_PKEY_new_raw_public_key, EVP_PKEY_X25519,
    EVP_chacha20_poly1305, OPENSSL_cleanse, OSSL_PARAM, OSSL_PARAM_construct_end, OSSL_PARAM_construct_octet_string,
    OSSL_PKEY_PARAM_PRIV_KEY, OSSL_PKEY_PARAM_PUB_KEY,
)
from pywg.dataplane.wire.wireguard cimport KEY_LEN, TAG_LEN

cdef enum:
    NONCE_LEN = 12
    HMAC_BLOCK_LEN = 64     # of BLAKE2s
    HMAC_INNER = 0x36       # RFC 2104
    HMAC_OUTER = 0x5C


@cython.final
cdef class PrivateKey:
    """Of X25519, from a buffer of 32 bytes. Holds libcrypto's copy of it, which goes, cleansed, with this object.

    `public` is its public key, which nothing checks. Without it libcrypto computes one, for as long as an exchange.
    ValueError for another length, MemoryError where libcrypto makes none.
    """
    cdef EVP_PKEY *key

    def __cinit__(self, source, bytes public=None):
        cdef Py_buffer view
        PyObject_GetBuffer(source, &view, PyBUF_SIMPLE)
        try:
            check_length("a private key", view.len, KEY_LEN)
            if public is None:
                self.key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, <const uint8_t *>view.buf, KEY_LEN)
            else:
                check_length("a public key", PyBytes_Size(public), KEY_LEN)
                self.key = key_pair(<uint8_t *>view.buf, <uint8_t *>PyBytes_AsString(public))
        finally:
            PyBuffer_Release(&view)
        if self.key == NULL:
            refuse()

    def __dealloc__(self):
        EVP_PKEY_free(self.key)

    def public_key(self) -> bytes:
        """32 bytes."""
        cdef size_t length = KEY_LEN
        cdef bytes public = PyBytes_FromStringAndSize(NULL, KEY_LEN)
        if EVP_PKEY_get_raw_public_key(self.key, <uint8_t *>PyBytes_AsString(public), &length) != 1:
            refuse()
        return public

    def exchange(self, bytes public_key not None):
        """The shared secret of 32 bytes; None for a public key of low order, with which it is zeros."""
        check_length("a public key", PyBytes_Size(public_key), KEY_LEN)
        cdef bytes shared = PyBytes_FromStringAndSize(NULL, KEY_LEN)
        cdef size_t length = KEY_LEN
        cdef bint is_good = False
        cdef EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(self.key, NULL)
        cdef EVP_PKEY *peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL,
                                                          <const uint8_t *>PyBytes_AsString(public_key), KEY_LEN)
        cdef bint is_ready = (ctx != NULL and peer != NULL and EVP_PKEY_derive_init(ctx) == 1
                              and EVP_PKEY_derive_set_peer(ctx, peer) == 1)
        if is_ready:
            is_good = EVP_PKEY_derive(ctx, <uint8_t *>PyBytes_AsString(shared), &length) == 1
        EVP_PKEY_free(peer)
        EVP_PKEY_CTX_free(ctx)
        if not is_ready:
            refuse()
        if not is_good:
            ERR_clear_error()
            return None
        return shared


def seal(bytes key not None, bytes plaintext not None, bytes additional_data not None,
         bytes nonce not None) -> bytes:
    """The ciphertext and its tag. MemoryError where libcrypto has none."""
    cdef Py_ssize_t length = PyBytes_Size(plaintext)
    cdef bytes sealed = PyBytes_FromStringAndSize(NULL, length + TAG_LEN)
    cdef uint8_t *out = <uint8_t *>PyBytes_AsString(sealed)
    cdef int n
    cdef EVP_CIPHER_CTX *ctx = begin(key, nonce, additional_data, length, True)
    cdef const uint8_t *text = <const uint8_t *>PyBytes_AsString(plaintext)
    cdef bint done = ((length == 0 or EVP_CipherUpdate(ctx, out, &n, text, <int>length) == 1)
                      and EVP_EncryptFinal_ex(ctx, out + length, &n) == 1
                      and EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, out + length) == 1)
    EVP_CIPHER_CTX_free(ctx)
    if not done:
        refuse()
    return sealed


def open_sealed(bytes key not None, bytes ciphertext not None, bytes additional_data not None, bytes nonce not None):
    """The inverse of `seal`; None when the tag is wrong, or when there is none."""
    cdef Py_ssize_t length = PyBytes_Size(ciphertext) - TAG_LEN
    if length < 0:
        return None
    cdef const uint8_t *received = <const uint8_t *>PyBytes_AsString(ciphertext)
    cdef bytes plaintext = PyBytes_FromStringAndSize(NULL, length)
    cdef uint8_t *out = <uint8_t *>PyBytes_AsString(plaintext)
    cdef uint8_t rest[TAG_LEN]
    cdef int n
    cdef EVP_CIPHER_CTX *ctx = begin(key, nonce, additional_data, length, False)
    cdef bint done = (EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, <void *>(received + length)) == 1
                      and (length == 0 or EVP_CipherUpdate(ctx, out, &n, received, <int>length) == 1))
    cdef bint is_authentic = done and EVP_DecryptFinal_ex(ctx, rest, &n) > 0
    EVP_CIPHER_CTX_free(ctx)
    if not is_authentic:
        if length:      # the interpreter shares the empty one
            OPENSSL_cleanse(out, length)
        if not done:
            refuse()
        ERR_clear_error()
        return None
    return plaintext


def open_extended(bytes key not None, bytes ciphertext not None, bytes additional_data not None,
                  bytes nonce not None):
    """As `open_sealed`, of XChaCha20-Poly1305: the nonce has 24 bytes."""
    cdef Py_ssize_t length = PyBytes_Size(ciphertext)
    check_length("a key", PyBytes_Size(key), KEY_LEN)
    check_length("a nonce", PyBytes_Size(nonce), XNONCE_LEN)
    check_size(length)
    check_size(PyBytes_Size(additional_data))
    if length < TAG_LEN:
        return None
    cdef bytes plaintext = PyBytes_FromStringAndSize(NULL, length - TAG_LEN)
    if not xchacha_open(<const uint8_t *>PyBytes_AsString(key), <const uint8_t *>PyBytes_AsString(nonce),
                        <const uint8_t *>PyBytes_AsString(ciphertext), length,
                        <const uint8_t *>PyBytes_AsString(additional_data), PyBytes_Size(additional_data),
                        <uint8_t *>PyBytes_AsString(plaintext)):
        return None
    return plaintext


def hmac_blocks(bytes key not None) -> tuple[bytes, bytes]:
    """The block that begins HMAC's inner hash, and that of the outer one, under a key of up to 64 bytes.

    No byte of the key is an index: bytes.translate(), of which others make these, looks each up in a table.
    """
    cdef Py_ssize_t length = PyBytes_Size(key), i
    if length > HMAC_BLOCK_LEN:
        raise ValueError(f"a key has up to {HMAC_BLOCK_LEN} bytes, and not {length}")
    cdef bytes inner = PyBytes_FromStringAndSize(NULL, HMAC_BLOCK_LEN)
    cdef bytes outer = PyBytes_FromStringAndSize(NULL, HMAC_BLOCK_LEN)
    cdef uint8_t *to_inner = <uint8_t *>PyBytes_AsString(inner)
    cdef uint8_t *to_outer = <uint8_t *>PyBytes_AsString(outer)
    cdef const uint8_t *from_key = <const uint8_t *>PyBytes_AsString(key)
    memset(to_inner, HMAC_INNER, HMAC_BLOCK_LEN)
    memset(to_outer, HMAC_OUTER, HMAC_BLOCK_LEN)
    for i in range(length):
        to_inner[i] ^= from_key[i]
        to_outer[i] ^= from_key[i]
    return inner, outer


cdef EVP_PKEY *key_pair(uint8_t *private, uint8_t *public) noexcept:
    """Of X25519; NULL where libcrypto makes none."""
    cdef EVP_PKEY *key = NULL
    cdef EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_X25519, NULL)
    cdef OSSL_PARAM parts[3]
    parts[0] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PRIV_KEY, private, KEY_LEN)
    parts[1] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, public, KEY_LEN)
    parts[2] = OSSL_PARAM_construct_end()
    if ctx != NULL and EVP_PKEY_fromdata_init(ctx) == 1:
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, parts)
    EVP_PKEY_CTX_free(ctx)
    return key


cdef EVP_CIPHER_CTX *begin(bytes key, bytes nonce, bytes additional_data, Py_ssize_t length, bint seals) except NULL:
    """A context with the key, the nonce and the additional data in it; the caller's to free."""
    cdef Py_ssize_t data_len = PyBytes_Size(additional_data)
    cdef int n
    check_length("a key", PyBytes_Size(key), KEY_LEN)
    check_length("a nonce", PyBytes_Size(nonce), NONCE_LEN)
    check_size(length)
    check_size(data_len)
    cdef EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new()
    if ctx == NULL or EVP_CipherInit_ex(ctx, EVP_chacha20_poly1305(), NULL, <const uint8_t *>PyBytes_AsString(key),
                                        <const uint8_t *>PyBytes_AsString(nonce), seals) != 1 or (
            data_len != 0 and EVP_CipherUpdate(ctx, NULL, &n, <const uint8_t *>PyBytes_AsString(additional_data),
                                               <int>data_len) != 1):
        EVP_CIPHER_CTX_free(ctx)
        refuse()
    return ctx


cdef int check_length(str what, Py_ssize_t length, Py_ssize_t wanted) except -1:
    if length != wanted:
        raise ValueError(f"{what} has {wanted} bytes, and not {length}")
    return 0


cdef int check_size(Py_ssize_t length) except -1:
    if length > INT_MAX - TAG_LEN:
        raise ValueError("too long a text")
    return 0


cdef int refuse() except -1:
    ERR_clear_error()
    raise MemoryError("libcrypto failed")
