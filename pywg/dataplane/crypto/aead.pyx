"""The AEAD over batches: with the kernel that was chosen, or packet by packet (aead.pxd)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from pywg.dataplane.crypto.chacha20poly1305 cimport chapoly_open, chapoly_seal
from pywg.dataplane.crypto.evp cimport evp_open, evp_seal
from pywg.dataplane.crypto.ipsec_mb cimport ipsec_mb_open, ipsec_mb_seal
from pywg.dataplane.crypto.ossl_provider cimport provider_free, provider_new, provider_open, provider_rekey
from pywg.dataplane.crypto.ossl_provider cimport provider_seal
from pywg.dataplane.sys.checks cimport c_assert, static_fits
from pywg.dataplane.sys.libcrypto cimport EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_CipherInit_ex
from pywg.dataplane.sys.libcrypto cimport EVP_chacha20_poly1305, OPENSSL_cleanse
from pywg.dataplane.wire.run cimport RUN_MAX_DATAGRAMS, Run
from pywg.dataplane.wire.wireguard cimport KEY_LEN, MESSAGE_TRANSPORT, TAG_LEN, WG_HEADER_LEN, TransportHeader

cdef enum:
    CONTEXT_STACK = 4096            # more than a call of a library for one packet takes

cdef int chosen = EVP
cdef uint8_t[KEY_LEN] no_key        # zeros


cdef void aead_choose(int backend) noexcept:
    """For every batch from now on. Before any thread of a data plane runs."""
    global chosen
    chosen = backend


cdef int aead_chosen() noexcept nogil:
    return chosen


# ---- one key

cdef int aead_use(Aead *aead, const uint8_t *key) noexcept nogil:
    """What comes is sealed or opened with this key, which has to stay where it is until `aead_forget`.

    0, or -1: no memory, or libcrypto has no ChaCha20-Poly1305.
    """
    aead.backend = chosen
    aead.key = key
    if aead.backend > 0 or aead.backend == IPSEC_MB or aead.held == key:
        return 0
    if aead.ctx == NULL and aead.below == NULL and not make_context(aead):
        return -1
    aead.held = key
    return set_key(aead, key)


cdef bint make_context(Aead *aead) noexcept nogil:
    """Without a key. It stays one of the libcrypto that it was made for, whatever is chosen later."""
    if aead.backend == LIBCRYPTO:
        aead.below = provider_new(no_key, aead.seals)
        return aead.below != NULL
    aead.ctx = EVP_CIPHER_CTX_new()
    return aead.ctx != NULL and EVP_CipherInit_ex(aead.ctx, EVP_chacha20_poly1305(), NULL, NULL, NULL, aead.seals)


cdef int set_key(Aead *aead, const uint8_t *key) noexcept nogil:
    if aead.below != NULL:
        return 0 if provider_rekey(aead.below, key, aead.seals) else -1
    return 0 if EVP_CipherInit_ex(aead.ctx, NULL, NULL, key, NULL, aead.seals) else -1


cdef void aead_forget(Aead *aead) noexcept nogil:
    """A batch is done: the key is in no context and nowhere on this thread's stack."""
    if aead.held != NULL:
        set_key(aead, no_key)
    if aead.key != NULL and aead.backend <= 0:
        forget_stack()
    aead.held = NULL
    aead.key = NULL


cdef void forget_stack() noexcept nogil:
    """What a library's code spilled lies below its caller's frame, where this function's own is as well."""
    cdef uint8_t below[CONTEXT_STACK]
    OPENSSL_cleanse(below, CONTEXT_STACK)


cdef void aead_free(Aead *aead) noexcept nogil:
    """Also of one that is all zeros."""
    aead_forget(aead)
    EVP_CIPHER_CTX_free(aead.ctx)
    provider_free(aead.below)
    aead.ctx = NULL
    aead.below = NULL


# ---- one packet

cdef inline bint seal_one(Aead *aead, uint64_t counter, uint8_t *text, uint32_t text_len) noexcept nogil:
    if aead.backend == IPSEC_MB:
        return ipsec_mb_seal(aead.key, counter, text, text_len)
    if aead.below != NULL:
        return provider_seal(aead.below, counter, text, text_len)
    return evp_seal(aead.ctx, counter, text, text_len)


cdef inline bint open_one(Aead *aead, uint64_t counter, uint8_t *text, uint32_t text_len) noexcept nogil:
    if aead.backend == IPSEC_MB:
        return ipsec_mb_open(aead.key, counter, text, text_len)
    if aead.below != NULL:
        return provider_open(aead.below, counter, text, text_len)
    return evp_open(aead.ctx, counter, text, text_len)


# ---- batches

cdef int seal_run(Aead *aead, Run *run, uint32_t receiver_index, uint64_t first_counter) noexcept nogil:
    """Seals a run's datagrams, as seal_batch() does."""
    cdef uint8_t *datagrams[AEAD_BATCH]
    cdef uint32_t wire_lens[AEAD_BATCH]
    cdef uint32_t i
    static_fits(RUN_MAX_DATAGRAMS, AEAD_BATCH)
    c_assert(run.count > 0)
    c_assert(run.count <= AEAD_BATCH)
    for i in range(run.count):
        datagrams[i] = run.base + i * run.stride
        wire_lens[i] = run.stride
    wire_lens[run.count - 1] = run.last_wire
    return seal_batch(aead, datagrams, wire_lens, <int>run.count, receiver_index, first_counter)


cdef int seal_batch(Aead *aead, uint8_t **datagrams, const uint32_t *wire_lens, int n, uint32_t receiver_index,
                    uint64_t first_counter) noexcept nogil:
    """Writes the headers of up to AEAD_BATCH datagrams and seals them, with contiguous counters. -1: libcrypto failed.

    Each has its padded inner packet behind the room for the header, and room for the tag behind that.
    """
    cdef uint8_t *texts[AEAD_BATCH]
    cdef uint32_t lens[AEAD_BATCH]
    cdef TransportHeader *header
    cdef int i
    c_assert(n <= AEAD_BATCH)
    for i in range(n):
        c_assert(wire_lens[i] >= WG_HEADER_LEN + TAG_LEN)
        header = <TransportHeader *>datagrams[i]
        memset(header, 0, 4)
        header.type = MESSAGE_TRANSPORT
        header.receiver_index = receiver_index
        header.counter = first_counter + <uint64_t>i
        texts[i] = datagrams[i] + WG_HEADER_LEN
        lens[i] = wire_lens[i] - WG_HEADER_LEN - TAG_LEN
    if aead.backend > 0:
        chapoly_seal(aead.backend, aead.key, first_counter, texts, lens, n)
        return 0
    for i in range(n):
        if not seal_one(aead, first_counter + <uint64_t>i, texts[i], lens[i]):
            return -1
    return 0


cdef uint64_t open_batch(Aead *aead, uint8_t **datagrams, const uint32_t *wire_lens, int n) noexcept nogil:
    """Opens up to AEAD_BATCH transport messages where they stand. Bit i: datagram i is authentic.

    The text of one that is not may be garbage afterwards.
    """
    cdef uint8_t *texts[AEAD_BATCH]
    cdef uint32_t lens[AEAD_BATCH]
    cdef uint64_t counters[AEAD_BATCH]
    cdef uint64_t authentic = 0
    cdef int i
    static_fits(AEAD_BATCH, 8 * sizeof(authentic))
    c_assert(n <= AEAD_BATCH)
    for i in range(n):
        c_assert(wire_lens[i] >= WG_HEADER_LEN + TAG_LEN)
        counters[i] = (<TransportHeader *>datagrams[i]).counter
        texts[i] = datagrams[i] + WG_HEADER_LEN
        lens[i] = wire_lens[i] - WG_HEADER_LEN - TAG_LEN
    if aead.backend > 0:
        return chapoly_open(aead.backend, aead.key, counters, texts, lens, n)
    for i in range(n):
        if open_one(aead, counters[i], texts[i], lens[i]):
            authentic |= <uint64_t>1 << i
    return authentic
