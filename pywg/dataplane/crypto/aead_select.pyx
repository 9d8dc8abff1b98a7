"""Chooses the AEAD's backends when it is imported: by what is right, and then by what is faster on this processor."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memset
from pywg.dataplane.crypto.aead cimport AEAD_BATCH, EVP, IPSEC_MB, LIBCRYPTO, Aead, aead_choose, aead_chosen
from pywg.dataplane.crypto.aead cimport aead_forget, aead_free, aead_use, open_batch, seal_batch
from pywg.dataplane.crypto.ossl_provider cimport provider_has
from pywg.dataplane.sys.clock cimport now_ns
from pywg.dataplane.wire.wireguard cimport KEY_LEN, TAG_LEN, WG_HEADER_LEN

from pywg.dataplane.crypto.chacha20poly1305 import levels
from pywg.dataplane.crypto.ipsec_mb import load as load_ipsec_mb

cdef enum:
    NOWHERE = -3                    # no backend
    TRIAL_PACKET = 1420
    TRIAL_ROUNDS = 8
    TRIAL_BATCH = 16
    TRIAL_MEMORY = AEAD_BATCH * (WG_HEADER_LEN + 2048 + TAG_LEN)

cdef extern from * nogil:
    """
    #include <stdint.h>
    """
    const uint64_t NEVER "UINT64_MAX"

# Those for one packet a call, and the levels of chapoly.
NAMES = {"evp": EVP, "libcrypto": LIBCRYPTO, "ipsec-mb": IPSEC_MB, "avx2": 2, "avx512": 5, "ifma": 6}


cdef struct Trial:
    # A backend, and a batch of datagrams of one length to seal and to open with it.
    int backend
    uint8_t key[KEY_LEN]
    Aead sealer
    Aead opener
    uint8_t *memory
    uint8_t *datagrams[AEAD_BATCH]
    uint32_t wire_lens[AEAD_BATCH]


cdef bint trial_begin(Trial *trial, int backend) noexcept:
    """False: no memory, or libcrypto has no ChaCha20-Poly1305. To be ended in either case."""
    memset(trial, 0, sizeof(Trial))
    trial.backend = backend
    memset(trial.key, 0x42, KEY_LEN)
    trial.memory = <uint8_t *>malloc(TRIAL_MEMORY)
    trial.sealer.seals = True
    aead_choose(backend)
    return (trial.memory != NULL and aead_use(&trial.sealer, trial.key) == 0
            and aead_use(&trial.opener, trial.key) == 0)


cdef void trial_end(Trial *trial) noexcept:
    aead_free(&trial.sealer)
    aead_free(&trial.opener)
    free(trial.memory)


cdef int trial_lay_out(Trial *trial, int n, uint32_t text_len) noexcept:
    """Gives the batch its texts. How many bytes it takes."""
    cdef int i
    cdef uint32_t wire_len = WG_HEADER_LEN + text_len + TAG_LEN
    memset(trial.memory, 0x5A, TRIAL_MEMORY)
    for i in range(n):
        trial.datagrams[i] = trial.memory + <size_t>i * wire_len
        trial.wire_lens[i] = wire_len
        memset(trial.datagrams[i] + WG_HEADER_LEN, i, text_len)
    return n * wire_len


cdef void trial_seal(Trial *trial, int n, uint64_t first_counter) noexcept:
    """As the threads do: the key is given for a batch."""
    aead_choose(trial.backend)
    aead_use(&trial.sealer, trial.key)
    seal_batch(&trial.sealer, trial.datagrams, trial.wire_lens, n, 0, first_counter)
    aead_forget(&trial.sealer)


cdef bint agrees(Trial *mine, Trial *evp, int n, uint32_t text_len) noexcept:
    """Whether the backend seals what EVP seals, opens it again, and refuses it with one bit changed."""
    cdef uint64_t first_counter = 0xFFFFFFFE
    cdef uint64_t everything = ~<uint64_t>0 >> (AEAD_BATCH - n)
    cdef int i, used = trial_lay_out(evp, n, text_len)
    cdef uint8_t *text
    trial_seal(evp, n, first_counter)
    trial_lay_out(mine, n, text_len)
    trial_seal(mine, n, first_counter)
    if memcmp(mine.memory, evp.memory, used) != 0:
        return False
    mine.datagrams[n // 2][WG_HEADER_LEN + text_len] ^= 1
    everything &= ~(<uint64_t>1 << (n // 2))
    if open_batch(&mine.opener, mine.datagrams, mine.wire_lens, n) != everything:
        return False
    for i in range(n):
        text = mine.datagrams[i] + WG_HEADER_LEN
        if i != n // 2 and text_len and (text[0] != i or text[text_len - 1] != i):
            return False
    return True


cdef uint64_t seal_time(Trial *trial, int n) noexcept:
    """The least ns that a batch of n full packets took."""
    cdef uint64_t start, best = NEVER
    trial_lay_out(trial, n, TRIAL_PACKET)
    for _ in range(TRIAL_ROUNDS):
        start = now_ns()
        trial_seal(trial, n, 0)
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


cdef int best_of(list backends, bint fastest) except *:
    """Among those that are right: the fastest, or else the last one."""
    cdef int best_backend = EVP
    cdef uint64_t took, best = time_if_right(EVP)
    cdef int backend
    for backend in backends:
        took = time_if_right(backend)
        if took == NEVER or (fastest and took >= best):
            continue
        best = took
        best_backend = backend
    return best_backend


cdef int choose(str name) except -1:
    """What is not right is never chosen, whatever was asked for."""
    cdef int backend = aead_chosen()
    try:
        backend = best_of(candidates(name), name == "auto")
    finally:
        aead_choose(backend)            # a trial is a choice, too
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
    """The name of the backend that batches go to."""
    cdef int chosen = aead_chosen()
    return next(name for name, backend in NAMES.items() if backend == chosen)


choose("auto")
