"""The AEAD over batches: the kernel that was chosen for what is worth it, packet by packet for the rest (aead.pxd)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from pywg._native.checks cimport c_assert, static_fits
from pywg._native.chapoly cimport chapoly_open, chapoly_seal
from pywg._native.evp cimport evp_open, evp_seal
from pywg._native.ipsec_mb cimport ipsec_mb_open, ipsec_mb_seal
from pywg._native.libcrypto cimport EVP_chacha20_poly1305, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_CipherInit_ex
from pywg._native.provider cimport provider_free, provider_new, provider_open, provider_rekey, provider_seal
from pywg._native.segment cimport RUN_MAX_DATAGRAMS, Run
from pywg._native.wire cimport MESSAGE_TRANSPORT, TAG_LEN, TransportHeader, WG_HEADER_LEN

cdef enum:
    KERNEL_LANES = 16               # packets that a kernel works on at a time

cdef Choice chosen
chosen.single = EVP
chosen.kernel = 0
chosen.smallest = AEAD_BATCH + 1


cdef void aead_choose(Choice choice) noexcept:
    """For every key from now on. Before any thread of a data plane runs."""
    global chosen
    chosen = choice


cdef Choice aead_chosen() noexcept:
    return chosen


# ---- one key

cdef int aead_init_seal(Aead *aead, const uint8_t *key) noexcept nogil:
    """`key` has to stay where it is. 0, or -1: no memory, or libcrypto has no ChaCha20-Poly1305."""
    return init(aead, key, True)


cdef int aead_init_open(Aead *aead, const uint8_t *key) noexcept nogil:
    """As aead_init_seal()."""
    return init(aead, key, False)


cdef int init(Aead *aead, const uint8_t *key, bint seals) noexcept nogil:
    aead.key = key
    aead.ctx = NULL
    aead.below = NULL
    aead.seals = seals
    if chosen.single == LIBCRYPTO:
        aead.below = provider_new(key, seals)
        return 0 if aead.below != NULL else -1
    aead.ctx = EVP_CIPHER_CTX_new()
    if aead.ctx == NULL:
        return -1
    return 0 if EVP_CipherInit_ex(aead.ctx, EVP_chacha20_poly1305(), NULL, key, NULL, seals) else -1


cdef int aead_rekey(Aead *aead, const uint8_t *key) noexcept nogil:
    """Gives the context another key. 0, or -1: libcrypto failed."""
    if aead.below != NULL:
        return 0 if provider_rekey(aead.below, key, aead.seals) else -1
    return 0 if EVP_CipherInit_ex(aead.ctx, NULL, NULL, key, NULL, aead.seals) else -1


cdef void aead_free(Aead *aead) noexcept nogil:
    """Also of one that is all zeros, or whose init failed."""
    EVP_CIPHER_CTX_free(aead.ctx)
    provider_free(aead.below)
    aead.ctx = NULL
    aead.below = NULL
    aead.key = NULL


# ---- one packet

cdef inline bint seal_one(Aead *aead, uint64_t counter, uint8_t *text, uint32_t text_len) noexcept nogil:
    """A key keeps to the libcrypto that it was made for, whatever was selected since."""
    if chosen.single == IPSEC_MB:
        return ipsec_mb_seal(aead.key, counter, text, text_len)
    if aead.below != NULL:
        return provider_seal(aead.below, counter, text, text_len)
    return evp_seal(aead.ctx, counter, text, text_len)


cdef inline bint open_one(Aead *aead, uint64_t counter, uint8_t *text, uint32_t text_len) noexcept nogil:
    """As seal_one()."""
    if chosen.single == IPSEC_MB:
        return ipsec_mb_open(aead.key, counter, text, text_len)
    if aead.below != NULL:
        return provider_open(aead.below, counter, text, text_len)
    return evp_open(aead.ctx, counter, text, text_len)


# ---- batches

cdef inline int batched_part(int n) noexcept nogil:
    """How many of n packets go to the kernel: whole groups of its lanes, and a rest that is worth a group."""
    cdef int rest = n % KERNEL_LANES
    if rest >= chosen.smallest:
        return n
    if chosen.smallest <= KERNEL_LANES:
        return n - rest
    return n if n >= chosen.smallest else 0


cdef bint aead_needs_ctx(int n) noexcept nogil:
    """Whether sealing or opening a batch of n datagrams uses the context, and not the key alone."""
    return chosen.single != IPSEC_MB and batched_part(n) != n


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
    cdef int i, batched = batched_part(n)
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
    if batched:
        chapoly_seal(chosen.kernel, aead.key, first_counter, texts, lens, batched)
    for i in range(batched, n):
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
    cdef int i, batched = batched_part(n)
    static_fits(AEAD_BATCH, 8 * sizeof(authentic))
    c_assert(n <= AEAD_BATCH)
    for i in range(n):
        c_assert(wire_lens[i] >= WG_HEADER_LEN + TAG_LEN)
        counters[i] = (<TransportHeader *>datagrams[i]).counter
        texts[i] = datagrams[i] + WG_HEADER_LEN
        lens[i] = wire_lens[i] - WG_HEADER_LEN - TAG_LEN
    if batched:
        authentic = chapoly_open(chosen.kernel, aead.key, counters, texts, lens, batched)
    for i in range(batched, n):
        if open_one(aead, counters[i], texts[i], lens[i]):
            authentic |= <uint64_t>1 << i
    return authentic
