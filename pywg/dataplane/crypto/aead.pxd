"""ChaCha20-Poly1305 (RFC 8439) over WireGuard's transport messages: one thread, one direction, key after key.

Seal and open, and behind them two kinds of backend: the kernels of chapoly, where the CPU has the vectors for them,
which do batches of any size; or one packet a call: libcrypto's EVP, which is everywhere, what EVP calls in the end
(ossl_provider.pxd), or intel-ipsec-mb, if it is there and asked for.

Keys stay where their owner has them. Only libcrypto's contexts take a copy, and so a thread has one a direction, which
is given the key for a batch and loses it with `aead_forget` when the batch is done.
The nonce is 32 zero bits and the 64-bit little-endian counter (paper section 5.4.6); there is no associated data.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg.dataplane.sys.libcrypto cimport EVP_CIPHER_CTX
from pywg.dataplane.wire.run cimport Run

cdef enum:
    AEAD_BATCH = 64                 # datagrams a call
    # The backends for one packet a call; a kernel's number is its level of chapoly.
    EVP = 0
    LIBCRYPTO = -1
    IPSEC_MB = -2


cdef struct Aead:                   # all zeros but for `seals` before its first use
    bint seals                      # what it is for
    int backend                     # that was chosen when it was given the key
    const uint8_t *key              # 32 bytes in the secret arena, the owner's; NULL: none
    EVP_CIPHER_CTX *ctx             # or NULL
    void *below                     # instead: the provider's own context, likewise
    const uint8_t *held             # whose key the context has a copy of, NULL: nobody's

cdef int aead_chosen() noexcept nogil
cdef void aead_choose(int backend) noexcept
cdef int aead_use(Aead *aead, const uint8_t *key) noexcept nogil
cdef void aead_forget(Aead *aead) noexcept nogil
cdef void aead_free(Aead *aead) noexcept nogil
cdef int seal_run(Aead *aead, Run *run, uint32_t receiver_index, uint64_t first_counter) noexcept nogil
cdef int seal_batch(Aead *aead, uint8_t **datagrams, const uint32_t *wire_lens, int n, uint32_t receiver_index,
                    uint64_t first_counter) noexcept nogil
cdef uint64_t open_batch(Aead *aead, uint8_t **datagrams, const uint32_t *wire_lens, int n) noexcept nogil
