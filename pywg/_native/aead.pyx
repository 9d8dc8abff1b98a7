"""The AEAD's backends, chosen when this module is imported by what is right and then by what is faster (aead.pxd)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memset
from pywg._native.chapoly cimport chapoly_open, chapoly_seal
from pywg._native.clock cimport now_ns
from pywg._native.evp cimport evp_open, evp_seal
from pywg._native.ipsec_mb cimport ipsec_mb_open, ipsec_mb_seal
from pywg._native.libcrypto cimport EVP_chacha20_poly1305, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_CipherInit_ex
from pywg._native.provider cimport provider_free, provider_has, provider_new, provider_open, provider_rekey
from pywg._native.provider cimport provider_seal
from pywg._native.segment cimport Run
from pywg._native.wire cimport KEY_LEN, MESSAGE_TRANSPORT, TAG_LEN, TransportHeader, WG_HEADER_LEN

from pywg._native.chapoly import levels
from pywg._native.ipsec_mb import load as load_ipsec_mb

cdef enum:
    # Backends for one packet a call; greater numbers are levels of chapoly.
    EVP = 0
    LIBCRYPTO = -1
    IPSEC_MB = -2
    NOWHERE = -3
    KERNEL_LANES = 16               # packets that a kernel works on at a time

NAMES = {"evp": EVP, "libcrypto": LIBCRYPTO, "ipsec-mb": IPSEC_MB, "avx2": 2, "avx512": 5, "ifma": 6}

# Written when a backend is selected, which is before any thread runs.
cdef int single = EVP               # for packets one by one
cdef int kernel = 0                 # a level of chapoly for batches, or 0: none
cdef int least = AEAD_BATCH + 1     # the smallest batch that the kernel is faster for


# ---- one key

cdef int aead_init_seal(Aead *aead, const uint8_t *key) noexcept nogil:
    """`key` has to stay where it is. 0, or -1: no memory, or libcrypto has no ChaCha20-Poly1305."""
    return init_for(aead, key, single, True)


cdef int aead_init_open(Aead *aead, const uint8_t *key) noexcept nogil:
    """As aead_init_seal()."""
    return init_for(aead, key, single, False)


cdef int init_for(Aead *aead, const uint8_t *key, int backend, bint seals) noexcept nogil:
    aead.key = key
    aead.ctx = NULL
    aead.below = NULL
    aead.seals = seals
    if backend == LIBCRYPTO:
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

cdef inline bint seal_one(Aead *aead, int backend, uint64_t counter, uint8_t *text, uint32_t text_len) noexcept nogil:
    """A key keeps to the libcrypto that it was made for, whatever was selected since."""
    if backend == IPSEC_MB:
        return ipsec_mb_seal(aead.key, counter, text, text_len)
    if aead.below != NULL:
        return provider_seal(aead.below, counter, text, text_len)
    return evp_seal(aead.ctx, counter, text, text_len)


cdef inline bint open_one(Aead *aead, int backend, uint64_t counter, uint8_t *text, uint32_t text_len) noexcept nogil:
    """As seal_one()."""
    if backend == IPSEC_MB:
        return ipsec_mb_open(aead.key, counter, text, text_len)
    if aead.below != NULL:
        return provider_open(aead.below, counter, text, text_len)
    return evp_open(aead.ctx, counter, text, text_len)


# ---- batches

cdef inline int batched_part(int n) noexcept nogil:
    """How many of n packets go to the kernel: whole groups of its lanes, and a rest that is worth a group."""
    cdef int rest = n % KERNEL_LANES
    return n if rest >= least else n - rest if least <= KERNEL_LANES else n if n >= least else 0


cdef bint aead_needs_ctx(int n) noexcept nogil:
    """Whether sealing or opening a batch of n datagrams uses the context, and not the key alone."""
    return single != IPSEC_MB and batched_part(n) != n


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
        chapoly_seal(kernel, aead.key, first_counter, texts, lens, batched)
    for i in range(batched, n):
        if not seal_one(aead, single, first_counter + <uint64_t>i, texts[i], lens[i]):
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
        authentic = chapoly_open(kernel, aead.key, counters, texts, lens, batched)
    for i in range(batched, n):
        if open_one(aead, single, counters[i], texts[i], lens[i]):
            authentic |= <uint64_t>1 << i
    return authentic


# ---- which one

cdef enum:
    TRIAL_PACKET = 1420
    TRIAL_ROUNDS = 4
    TRIAL_BATCH = 16
    TRIAL_MEMORY = AEAD_BATCH * (2048 + TAG_LEN)

cdef extern from * nogil:
    """
    #include <stdint.h>
    """
    const uint64_t NEVER "UINT64_MAX"

cdef struct Trial:
    # A backend, and a batch of texts of one length to seal and to open with it.
    int backend
    uint8_t key[KEY_LEN]
    Aead sealer
    Aead opener
    uint8_t *memory
    uint8_t *texts[AEAD_BATCH]
    uint32_t lens[AEAD_BATCH]
    uint64_t counters[AEAD_BATCH]


cdef bint trial_begin(Trial *trial, int backend) noexcept nogil:
    """False: no memory, or libcrypto has no ChaCha20-Poly1305. To be ended in either case."""
    memset(trial, 0, sizeof(Trial))
    trial.backend = backend
    memset(trial.key, 0x42, KEY_LEN)
    trial.memory = <uint8_t *>malloc(TRIAL_MEMORY)
    return (trial.memory != NULL and init_for(&trial.sealer, trial.key, backend, True) == 0
            and init_for(&trial.opener, trial.key, backend, False) == 0)


cdef void trial_end(Trial *trial) noexcept nogil:
    aead_free(&trial.sealer)
    aead_free(&trial.opener)
    free(trial.memory)


cdef int trial_lay_out(Trial *trial, int n, uint32_t text_len, uint64_t first_counter) noexcept nogil:
    """How many bytes the batch takes."""
    cdef int i
    memset(trial.memory, 0x5A, TRIAL_MEMORY)
    for i in range(n):
        trial.texts[i] = trial.memory + <size_t>i * (text_len + TAG_LEN)
        trial.lens[i] = text_len
        trial.counters[i] = first_counter + <uint64_t>i
        memset(trial.texts[i], i, text_len)
    return n * (text_len + TAG_LEN)


cdef void trial_seal(Trial *trial, int n) noexcept nogil:
    cdef int i
    if trial.backend > 0:
        chapoly_seal(trial.backend, trial.key, trial.counters[0], trial.texts, trial.lens, n)
        return
    for i in range(n):
        seal_one(&trial.sealer, trial.backend, trial.counters[i], trial.texts[i], trial.lens[i])


cdef uint64_t trial_open(Trial *trial, int n) noexcept nogil:
    """Bit i: the i-th was authentic."""
    cdef uint64_t authentic = 0
    cdef int i
    if trial.backend > 0:
        return chapoly_open(trial.backend, trial.key, trial.counters, trial.texts, trial.lens, n)
    for i in range(n):
        if open_one(&trial.opener, trial.backend, trial.counters[i], trial.texts[i], trial.lens[i]):
            authentic |= <uint64_t>1 << i
    return authentic


cdef bint agrees(Trial *mine, Trial *evp, int n, uint32_t text_len) noexcept nogil:
    """Whether the backend seals what EVP seals, opens it again, and refuses it with one bit changed."""
    cdef uint64_t first_counter = 0xFFFFFFFE
    cdef uint64_t everything = ~<uint64_t>0 >> (AEAD_BATCH - n)
    cdef int i, used
    used = trial_lay_out(mine, n, text_len, first_counter)
    trial_lay_out(evp, n, text_len, first_counter)
    trial_seal(mine, n)
    trial_seal(evp, n)
    if memcmp(mine.memory, evp.memory, used) != 0:
        return False
    mine.texts[n // 2][text_len] ^= 1
    everything &= ~(<uint64_t>1 << (n // 2))
    if trial_open(mine, n) != everything:
        return False
    for i in range(n):
        if i != n // 2 and text_len and (mine.texts[i][0] != i or mine.texts[i][text_len - 1] != i):
            return False
    return True


cdef uint64_t seal_time(Trial *trial, int n) noexcept nogil:
    """The least ns that a batch of n full packets took."""
    cdef uint64_t start, best = NEVER
    trial_lay_out(trial, n, TRIAL_PACKET, 0)
    for _ in range(TRIAL_ROUNDS):
        start = now_ns()
        trial_seal(trial, n)
        start = now_ns() - start
        best = start if start < best else best
    return best


cdef uint64_t time_if_right(int backend) except 0:
    """How long the backend takes for a batch. NEVER: it doesn't do what EVP does."""
    cdef Trial mine, evp
    cdef bint begun = trial_begin(&mine, backend)
    begun = trial_begin(&evp, EVP) and begun
    cdef uint64_t took = NEVER
    try:
        if not begun:
            raise MemoryError("no memory, or libcrypto has no ChaCha20-Poly1305")
        if all([agrees(&mine, &evp, n, text_len)
                for n, text_len in ((1, 0), (16, 1420), (17, 65), (64, 33), (3, 2048))]):
            took = seal_time(&mine, TRIAL_BATCH)
    finally:
        trial_end(&mine)
        trial_end(&evp)
    return took


cdef int smallest_batch(int many, int one) except -1:
    """From how many packets on the kernel is faster than one by one; AEAD_BATCH + 1: from none."""
    cdef Trial kernel_trial, single_trial
    cdef bint begun = trial_begin(&kernel_trial, many)
    begun = trial_begin(&single_trial, one) and begun
    cdef int n = 1
    while begun and n <= AEAD_BATCH and seal_time(&kernel_trial, n) >= seal_time(&single_trial, n):
        n = n + 1 if n < 8 else n * 2
    trial_end(&kernel_trial)
    trial_end(&single_trial)
    return n if n <= AEAD_BATCH else AEAD_BATCH + 1


cdef list candidates(str name):
    """What to try besides EVP.

    Not intel-ipsec-mb, unless it is named: it takes 25 ms to start and 5 MiB, and is no faster than a kernel on the
    batches that load brings.
    """
    if name == "evp":
        return []
    if name != "auto":
        return [NAMES[name]]
    return ([LIBCRYPTO] if provider_has() else []) + list(levels())


cdef int choose(str name) except -1:
    """Sets `single`, `kernel` and `least`. What is not right is never chosen, whatever was asked for."""
    global single, kernel, least
    cdef uint64_t took, best = time_if_right(EVP)
    cdef int backend, one = EVP, many = 0
    for backend in candidates(name):
        took = time_if_right(backend)
        if took == NEVER or (name == "auto" and took >= best):
            continue
        best = took
        if backend > 0:
            many = backend
        else:
            one = backend
    single = one
    kernel = many
    least = AEAD_BATCH + 1 if not many else smallest_batch(many, one) if name == "auto" else 1
    return 0


cdef bint is_here(str name):
    cdef int backend = NAMES.get(name, NOWHERE)
    if backend == LIBCRYPTO:
        return provider_has()
    if backend == IPSEC_MB:
        return load_ipsec_mb()
    return backend == EVP or backend in levels()


def available() -> tuple[str, ...]:
    """The backends of this machine by name, EVP first. Loads intel-ipsec-mb where there is one."""
    return tuple(name for name in NAMES if is_here(name))


def select(name: str) -> str:
    """Chooses the backend of every key from now on: "auto" the fastest, or one of NAMES. Returns `selected()`.

    Before any thread of a data plane runs. ValueError: no such backend, or not on this machine.
    """
    if name != "auto" and not is_here(name):
        have = ", ".join(["auto", *available()])
        raise ValueError(f"no AEAD backend {name!r} on this machine: choose one of {have}")
    choose(name)
    return selected()


def selected() -> str:
    """The name of the backend that large batches go to."""
    return next(name for name, backend in NAMES.items() if backend == (kernel or single))


def smallest() -> int:
    """From how many datagrams a batch goes to a kernel; more than 64 when none does."""
    return least


choose("auto")
