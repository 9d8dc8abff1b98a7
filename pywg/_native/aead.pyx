"""The AEAD's backends, chosen when this module is imported by what is right and then by what is faster (aead.pxd)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memset
from pywg._native.chapoly cimport chapoly_open, chapoly_seal
from pywg._native.clock cimport now_ns
from pywg._native.evp cimport evp_open, evp_seal
from pywg._native.libcrypto cimport EVP_chacha20_poly1305, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_DecryptInit_ex
from pywg._native.libcrypto cimport EVP_EncryptInit_ex
from pywg._native.segment cimport Run
from pywg._native.wire cimport KEY_LEN, MESSAGE_TRANSPORT, TAG_LEN, TransportHeader, WG_HEADER_LEN

from pywg._native.chapoly import levels

NAMES = {"evp": 0, "avx2": 2, "avx512": 5, "ifma": 6}

cdef enum:
    KERNEL_LANES = 16               # packets that a kernel works on at a time

# Written when a backend is selected, which is before any thread runs.
cdef int backend = 0                # 0: EVP; else a level of chapoly
cdef int least = AEAD_BATCH + 1     # the smallest batch that the kernel is faster for


# ---- one key

cdef int aead_init_seal(Aead *aead, const uint8_t *key) noexcept nogil:
    """`key` has to stay where it is. 0, or -1: no memory, or libcrypto has no ChaCha20-Poly1305."""
    aead.key = key
    aead.ctx = EVP_CIPHER_CTX_new()
    return 0 if aead.ctx != NULL and EVP_EncryptInit_ex(aead.ctx, EVP_chacha20_poly1305(), NULL, key, NULL) else -1


cdef int aead_init_open(Aead *aead, const uint8_t *key) noexcept nogil:
    """As aead_init_seal()."""
    aead.key = key
    aead.ctx = EVP_CIPHER_CTX_new()
    return 0 if aead.ctx != NULL and EVP_DecryptInit_ex(aead.ctx, EVP_chacha20_poly1305(), NULL, key, NULL) else -1


cdef void aead_free(Aead *aead) noexcept nogil:
    """Also of one that is all zeros, or whose init failed."""
    EVP_CIPHER_CTX_free(aead.ctx)
    aead.ctx = NULL
    aead.key = NULL


# ---- batches

cdef inline int batched_part(int n) noexcept nogil:
    """How many of n packets go to the kernel: whole groups of its lanes, and a rest that is worth a group."""
    cdef int rest = n % KERNEL_LANES
    return n if rest >= least else n - rest if least <= KERNEL_LANES else n if n >= least else 0


cdef bint aead_needs_ctx(int n) noexcept nogil:
    """Whether sealing or opening a batch of n datagrams uses the context, and not the key alone."""
    return batched_part(n) != n


cdef int seal_run(Aead *aead, Run *run, uint32_t receiver_index, uint64_t first_counter) noexcept nogil:
    """Seals a run's datagrams, as seal_batch() does."""
    cdef uint8_t *datagrams[AEAD_BATCH]
    cdef uint32_t wire_lens[AEAD_BATCH]
    cdef uint32_t i
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
    for i in range(n):
        header = <TransportHeader *>datagrams[i]
        memset(header, 0, 4)
        header.type = MESSAGE_TRANSPORT
        header.receiver_index = receiver_index
        header.counter = first_counter + <uint64_t>i
        texts[i] = datagrams[i] + WG_HEADER_LEN
        lens[i] = wire_lens[i] - WG_HEADER_LEN - TAG_LEN
    if batched:
        chapoly_seal(backend, aead.key, first_counter, texts, lens, batched)
    for i in range(batched, n):
        if not evp_seal(aead.ctx, first_counter + <uint64_t>i, texts[i], lens[i]):
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
    for i in range(n):
        counters[i] = (<TransportHeader *>datagrams[i]).counter
        texts[i] = datagrams[i] + WG_HEADER_LEN
        lens[i] = wire_lens[i] - WG_HEADER_LEN - TAG_LEN
    if batched:
        authentic = chapoly_open(backend, aead.key, counters, texts, lens, batched)
    for i in range(batched, n):
        if evp_open(aead.ctx, counters[i], texts[i], lens[i]):
            authentic |= <uint64_t>1 << i
    return authentic


# ---- which one

cdef struct Trial:
    # A batch of texts of one length, with what it takes to seal and open it.
    uint8_t key[KEY_LEN]
    uint8_t *memory
    uint8_t *texts[AEAD_BATCH]
    uint32_t lens[AEAD_BATCH]
    uint64_t counters[AEAD_BATCH]
    size_t size

cdef enum:
    TRIAL_PACKET = 1420
    TRIAL_ROUNDS = 4
    TRIAL_BATCH = 16


cdef int trial_lay_out(Trial *trial, int n, uint32_t text_len, uint64_t first_counter) noexcept nogil:
    cdef int i
    memset(trial.memory, 0x5A, trial.size)
    for i in range(n):
        trial.texts[i] = trial.memory + <size_t>i * (text_len + TAG_LEN)
        trial.lens[i] = text_len
        trial.counters[i] = first_counter + <uint64_t>i
        memset(trial.texts[i], i, text_len)
    return n * (text_len + TAG_LEN)


cdef bint agrees(Trial *mine, Trial *reference, Aead *evp, int level, int n, uint32_t text_len) noexcept nogil:
    """Whether the kernel seals what EVP seals, opens it again, and refuses it with one bit changed."""
    cdef uint64_t first_counter = 0xFFFFFFFE
    cdef uint64_t everything = ~<uint64_t>0 >> (AEAD_BATCH - n)
    cdef int i, used
    used = trial_lay_out(mine, n, text_len, first_counter)
    trial_lay_out(reference, n, text_len, first_counter)
    for i in range(n):
        if not evp_seal(evp.ctx, first_counter + <uint64_t>i, reference.texts[i], text_len):
            return False
    chapoly_seal(level, mine.key, first_counter, mine.texts, mine.lens, n)
    if memcmp(mine.memory, reference.memory, used) != 0:
        return False
    mine.texts[n // 2][text_len] ^= 1
    everything &= ~(<uint64_t>1 << (n // 2))
    if chapoly_open(level, mine.key, mine.counters, mine.texts, mine.lens, n) != everything:
        return False
    for i in range(n):
        if i != n // 2 and text_len and (mine.texts[i][0] != i or mine.texts[i][text_len - 1] != i):
            return False
    return True


cdef uint64_t seal_time(Trial *trial, Aead *evp, int level, int n) noexcept nogil:
    """The least ns that a batch of n full packets took, through the kernel or (level 0) EVP."""
    cdef uint64_t start, best = ~<uint64_t>0
    cdef int i
    trial_lay_out(trial, n, TRIAL_PACKET, 0)
    for _ in range(TRIAL_ROUNDS):
        start = now_ns()
        if level:
            chapoly_seal(level, trial.key, 0, trial.texts, trial.lens, n)
        else:
            for i in range(n):
                evp_seal(evp.ctx, i, trial.texts[i], trial.lens[i])
        start = now_ns() - start
        best = start if start < best else best
    return best


cdef int smallest_batch(Trial *trial, Aead *evp, int level) noexcept nogil:
    """From how many packets on the kernel beats EVP; AEAD_BATCH + 1: from none."""
    cdef int n = 1
    while n <= AEAD_BATCH:
        if seal_time(trial, evp, level, n) < seal_time(trial, evp, 0, n):
            return n
        n = n + 1 if n < 8 else n * 2
    return AEAD_BATCH + 1


cdef int choose(str name) except -1:
    """Sets `backend` and `least`. A level that is not right is never chosen, whatever was asked for."""
    global backend, least
    cdef Trial mine, reference
    cdef Aead evp
    cdef uint64_t took, best
    cdef int level, found = 0
    memset(&mine, 0, sizeof(mine))
    memset(&reference, 0, sizeof(reference))
    memset(&evp, 0, sizeof(evp))
    mine.size = reference.size = AEAD_BATCH * (2048 + TAG_LEN)
    mine.memory = <uint8_t *>malloc(mine.size)
    reference.memory = <uint8_t *>malloc(reference.size)
    memset(mine.key, 0x42, KEY_LEN)
    try:
        if mine.memory == NULL or reference.memory == NULL or aead_init_seal(&evp, mine.key) < 0:
            raise MemoryError("no memory, or libcrypto has no ChaCha20-Poly1305")
        best = seal_time(&mine, &evp, 0, TRIAL_BATCH)
        for level in levels():
            if name not in ("auto", "evp") and NAMES[name] != level or name == "evp":
                continue
            if not all([agrees(&mine, &reference, &evp, level, n, text_len)
                        for n, text_len in ((1, 0), (16, 1420), (17, 65), (64, 33), (3, 2048))]):
                continue
            took = seal_time(&mine, &evp, level, TRIAL_BATCH)
            if took < best or name != "auto":
                found = level
                best = took
        backend = found
        least = 1 if found and name != "auto" else smallest_batch(&mine, &evp, found) if found else AEAD_BATCH + 1
    finally:
        aead_free(&evp)
        free(mine.memory)
        free(reference.memory)
    return 0


def available() -> tuple[str, ...]:
    """The backends of this machine by name, EVP first."""
    return tuple(name for name, level in NAMES.items() if level in (0, *levels()))


def select(name: str) -> str:
    """Chooses the backend of every key from now on: "auto" the fastest, or one of NAMES. Returns `selected()`.

    Before any thread of a data plane runs. ValueError: no such backend, or not on this CPU.
    """
    if name not in ("auto", *available()):
        have = ", ".join(["auto", *available()])
        raise ValueError(f"no AEAD backend {name!r} on this machine: choose one of {have}")
    choose(name)
    return selected()


def selected() -> str:
    """The name of the backend that large batches go to."""
    return next(name for name, level in NAMES.items() if level == backend)


def smallest() -> int:
    """From how many datagrams a batch goes to the kernel; more than 64 when none does."""
    return least


choose("auto")
