"""The AEAD over batches (aead.pxd)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from pywg.dataplane.crypto.traces cimport TRACES_CALL, traces_forget
from pywg.dataplane.sys.checks cimport c_assert, static_fits
from pywg.dataplane.wire.run cimport RUN_MAX_DATAGRAMS, Run
from pywg.dataplane.wire.wireguard cimport MESSAGE_TRANSPORT, TAG_LEN, WG_HEADER_LEN, TransportHeader

# ---- one key

cdef void aead_init(Aead *aead, const AeadBackend *backend, bint seals) noexcept nogil:
    """Makes an AEAD without a key, which only seals or, if not `seals`, only opens."""
    memset(aead, 0, sizeof(Aead))
    aead.backend = backend
    aead.seals = seals


cdef int aead_use(Aead *aead, const uint8_t *key) noexcept nogil:
    """Sets the key, which has to stay in its place until `aead_forget`.

    0, or -1: no memory, or the library failed; there is no key then.
    """
    if aead.key == key:
        return 0
    aead.key = NULL
    if aead.backend.rekey != NULL:
        if aead.context == NULL:
            aead.context = aead.backend.new_context(aead.seals)
        if aead.context == NULL or not set_key(aead, key):
            return -1
    aead.key = key
    return 0


cdef bint set_key(Aead *aead, const uint8_t *key) noexcept nogil:
    """Copies the key into the context; NULL: none. False: the library failed, and the context is freed with its key."""
    if aead.backend.rekey(aead.context, key, aead.seals):
        return True
    free_context(aead)
    return False


cdef void free_context(Aead *aead) noexcept nogil:
    if aead.context != NULL:
        aead.backend.free_context(aead.context)
    aead.context = NULL


cdef void aead_forget(Aead *aead) noexcept nogil:
    """Removes the key from the context, and what a library left of it in this thread. At the end of a batch."""
    if aead.key != NULL and aead.context != NULL:
        set_key(aead, NULL)
        traces_forget(TRACES_CALL)
    aead.key = NULL


cdef void aead_free(Aead *aead) noexcept nogil:
    """Wipes and frees the context, also of an AEAD that is all zeros."""
    aead_forget(aead)
    free_context(aead)


# ---- batches

cdef int seal_run(const Aead *aead, Run *run, uint32_t receiver_index, uint64_t first_counter) noexcept nogil:
    """Seals a run's datagrams, see seal_batch()."""
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


cdef int seal_batch(const Aead *aead, uint8_t **datagrams, const uint32_t *wire_lens, int n, uint32_t receiver_index,
                    uint64_t first_counter) noexcept nogil:
    """Writes the headers of up to AEAD_BATCH datagrams and seals them, counters contiguous. -1: the library failed.

    Each datagram is room for the header, the padded inner packet, and room for the tag.
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
    return 0 if aead.backend.seal(aead, first_counter, texts, lens, n) else -1


cdef uint64_t open_batch(const Aead *aead, uint8_t **datagrams, const uint32_t *wire_lens, int n) noexcept nogil:
    """Opens up to AEAD_BATCH transport messages in place. Bit i: datagram i is authentic.

    If it is not, its text may be garbage afterwards.
    """
    cdef uint8_t *texts[AEAD_BATCH]
    cdef uint32_t lens[AEAD_BATCH]
    cdef uint64_t counters[AEAD_BATCH]
    cdef int i
    static_fits(AEAD_BATCH, 8 * sizeof(uint64_t))
    c_assert(n <= AEAD_BATCH)
    for i in range(n):
        c_assert(wire_lens[i] >= WG_HEADER_LEN + TAG_LEN)
        counters[i] = (<TransportHeader *>datagrams[i]).counter
        texts[i] = datagrams[i] + WG_HEADER_LEN
        lens[i] = wire_lens[i] - WG_HEADER_LEN - TAG_LEN
    return aead.backend.open(aead, counters, texts, lens, n)
