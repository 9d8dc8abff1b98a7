"""Contexts, and sealing and opening batches of datagrams (aead.pxd)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from pywg._native.libcrypto cimport EVP_chacha20_poly1305, EVP_CIPHER_CTX, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new
from pywg._native.libcrypto cimport EVP_DecryptInit_ex, EVP_EncryptInit_ex
from pywg._native.segment cimport Run
from pywg._native.wire cimport MESSAGE_TRANSPORT, TransportHeader, WG_HEADER_LEN, TAG_LEN


cdef EVP_CIPHER_CTX *aead_sealer(const uint8_t *key) noexcept nogil:
    """A context that seals with the 32-byte key, or NULL."""
    cdef EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new()
    if ctx != NULL and not EVP_EncryptInit_ex(ctx, EVP_chacha20_poly1305(), NULL, key, NULL):
        EVP_CIPHER_CTX_free(ctx)
        return NULL
    return ctx


cdef EVP_CIPHER_CTX *aead_opener(const uint8_t *key) noexcept nogil:
    """A context that opens with the 32-byte key, or NULL."""
    cdef EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new()
    if ctx != NULL and not EVP_DecryptInit_ex(ctx, EVP_chacha20_poly1305(), NULL, key, NULL):
        EVP_CIPHER_CTX_free(ctx)
        return NULL
    return ctx


cdef void aead_free(EVP_CIPHER_CTX *ctx) noexcept nogil:
    EVP_CIPHER_CTX_free(ctx)


cdef int seal_run(EVP_CIPHER_CTX *ctx, Run *run, uint32_t receiver_index, uint64_t first_counter) noexcept nogil:
    """Writes the headers of a run's datagrams and seals them, with contiguous counters. 0, or -1 if libcrypto failed.

    The padding is zeroed already; what is sealed is the padded inner packet.
    """
    cdef uint8_t *datagram = run.base
    cdef TransportHeader *header
    cdef uint32_t i, wire
    for i in range(run.count):
        wire = run.stride if i + 1 < run.count else run.last_wire
        header = <TransportHeader *>datagram
        memset(datagram, 0, 4)
        header.type = MESSAGE_TRANSPORT
        header.receiver_index = receiver_index
        header.counter = first_counter + i
        if not seal_in_place(ctx, first_counter + i, datagram + WG_HEADER_LEN, wire - WG_HEADER_LEN - TAG_LEN):
            return -1
        datagram += wire
    return 0


cdef uint64_t open_batch(EVP_CIPHER_CTX *ctx, uint8_t **datagrams, const uint32_t *wire_lens, int n) noexcept nogil:
    """Opens up to 64 transport messages of one key where they stand. Bit i: datagram i is authentic.

    The text of one that is not is garbage afterwards.
    """
    cdef uint64_t authentic = 0
    cdef int i
    for i in range(n):
        if open_in_place(ctx, (<TransportHeader *>datagrams[i]).counter, datagrams[i] + WG_HEADER_LEN,
                         wire_lens[i] - WG_HEADER_LEN - TAG_LEN):
            authentic |= <uint64_t>1 << i
    return authentic
