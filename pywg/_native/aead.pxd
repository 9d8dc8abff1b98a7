"""ChaCha20-Poly1305 (RFC 8439) over WireGuard's transport messages: one key, one direction, one thread.

Seal and open, and behind them two kinds of backend. For one packet a call: libcrypto's EVP, which is everywhere; what
EVP calls in the end (provider.pxd); intel-ipsec-mb, if it is there and asked for. For many: the kernels of chapoly,
where the CPU has the vectors for them. A batch that is too small for a kernel goes packet by packet.
The nonce is 32 zero bits and the 64-bit little-endian counter (paper section 5.4.6); there is no associated data.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg._native.libcrypto cimport EVP_CIPHER_CTX
from pywg._native.segment cimport Run

cdef enum:
    AEAD_BATCH = 64                 # datagrams a call
    # The backends for one packet a call.
    EVP = 0
    LIBCRYPTO = -1
    IPSEC_MB = -2


cdef struct Choice:                 # written before any thread runs (aead_choice.pyx)
    int single                      # the backend for packets one by one
    int kernel                      # a level of chapoly for batches, or 0: none
    int smallest                    # the smallest batch that goes to the kernel


cdef struct Aead:
    const uint8_t *key              # 32 bytes in the secret arena, the owner's
    EVP_CIPHER_CTX *ctx             # or NULL; has a copy of the key, which libcrypto wipes when the context is freed
    void *below                     # instead: the provider's own context, likewise
    bint seals                      # what it is for

cdef Choice aead_chosen() noexcept
cdef void aead_choose(Choice choice) noexcept
cdef int aead_init_seal(Aead *aead, const uint8_t *key) noexcept nogil
cdef int aead_init_open(Aead *aead, const uint8_t *key) noexcept nogil
cdef int aead_rekey(Aead *aead, const uint8_t *key) noexcept nogil
cdef void aead_free(Aead *aead) noexcept nogil
cdef bint aead_needs_ctx(int n) noexcept nogil
cdef int seal_run(Aead *aead, Run *run, uint32_t receiver_index, uint64_t first_counter) noexcept nogil
cdef int seal_batch(Aead *aead, uint8_t **datagrams, const uint32_t *wire_lens, int n, uint32_t receiver_index,
                    uint64_t first_counter) noexcept nogil
cdef uint64_t open_batch(Aead *aead, uint8_t **datagrams, const uint32_t *wire_lens, int n) noexcept nogil
