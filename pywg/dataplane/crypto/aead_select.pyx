"""The AEAD's backends, and the choice among them when a data plane is made (aead_select.pxd).

A backend is an entry of TABLE. It can be chosen, by name or as the fastest on this processor, if it gives the known
answer, seals what EVP seals, opens that again, and refuses it with one bit changed.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset
from pywg.dataplane.crypto.aead cimport AEAD_BATCH, Aead, aead_forget, aead_free, aead_init, aead_use, open_batch
from pywg.dataplane.crypto.aead cimport seal_batch
from pywg.dataplane.crypto.chacha20poly1305 cimport CHAPOLY_LEVEL_AVX2, CHAPOLY_LEVEL_AVX512, CHAPOLY_LEVEL_IFMA
from pywg.dataplane.crypto.chacha20poly1305 cimport chapoly_is_here, chapoly_open, chapoly_seal
from pywg.dataplane.crypto.evp cimport evp_free, evp_is_here, evp_new, evp_open_each, evp_rekey, evp_seal_each
from pywg.dataplane.crypto.ossl_provider cimport provider_free, provider_is_here, provider_new, provider_open_each
from pywg.dataplane.crypto.ossl_provider cimport provider_rekey, provider_seal_each
from pywg.dataplane.sys cimport linux
from pywg.dataplane.sys.clock cimport now_ns
from pywg.dataplane.sys.libcrypto cimport OPENSSL_VERSION, OpenSSL_version
from pywg.dataplane.sys.linux cimport ENOMEM
from pywg.dataplane.wire.wireguard cimport KEY_LEN, TAG_LEN, WG_HEADER_LEN

cdef enum:
    ENTRIES = 5
    ANSWER_LEN = 15
    TRIAL_PACKET = 1420
    TRIAL_ROUNDS = 8
    TRIAL_BATCH = 16
    TRIAL_MEMORY = AEAD_BATCH * (WG_HEADER_LEN + 2048 + TAG_LEN)

cdef enum Verdict:
    UNTRIED
    RIGHT
    WRONG

cdef extern from * nogil:
    """
    #include <stdint.h>
    #ifdef PYWG_NULL_CIPHER
    enum { PYWG_IS_NULL_CIPHER = 1 };
    #else
    enum { PYWG_IS_NULL_CIPHER = 0 };
    #endif
    """
    const uint64_t NEVER "UINT64_MAX"
    const bint NULL_CIPHER "PYWG_IS_NULL_CIPHER"

cdef extern from "<dlfcn.h>" nogil:
    ctypedef struct Dl_info:
        const char *dli_fname
    int dladdr(const void *address, Dl_info *info)

# EVP is first: the others are compared with it. The table also has backends that this build has no code for; their
# `is_here` returns False.
cdef AeadBackend[ENTRIES] TABLE = [
    AeadBackend(b"evp", b"OpenSSL's libcrypto", evp_is_here, evp_seal_each, evp_open_each, 0,
                evp_new, evp_rekey, evp_free),
    AeadBackend(b"libcrypto", b"OpenSSL 3 with its default provider", provider_is_here, provider_seal_each,
                provider_open_each, 0, provider_new, provider_rekey, provider_free),
    AeadBackend(b"avx2", b"x86-64 with AVX2 and BMI2", chapoly_is_here, chapoly_seal, chapoly_open,
                CHAPOLY_LEVEL_AVX2, NULL, NULL, NULL),
    AeadBackend(b"avx512", b"x86-64 with AVX-512 F, VL and BW", chapoly_is_here, chapoly_seal, chapoly_open,
                CHAPOLY_LEVEL_AVX512, NULL, NULL, NULL),
    AeadBackend(b"ifma", b"x86-64 with AVX-512 F, VL, BW and IFMA", chapoly_is_here, chapoly_seal, chapoly_open,
                CHAPOLY_LEVEL_IFMA, NULL, NULL, NULL),
]
cdef int entries = ENTRIES
cdef Verdict[ENTRIES] verdicts      # all UNTRIED
cdef const AeadBackend *fastest = NULL

# The start of RFC 8439 appendix A.5's text, under its key and nonce, but without its associated data.
cdef const uint8_t *ANSWER_KEY = (b"\x1c\x92\x40\xa5\xeb\x55\xd3\x8a\xf3\x33\x88\x86\x04\xf6\xb5\xf0"
                                  b"\x47\x39\x17\xc1\x40\x2b\x80\x09\x9d\xca\x5c\xbc\x20\x70\x75\xc0")
cdef const uint8_t *ANSWER_TEXT = b"Internet-Drafts"
cdef const uint8_t *ANSWER = (b"\x64\xa0\x86\x15\x75\x86\x1a\xf4\x60\xf0\x62\xc7\x9b\xe6\x43"
                              b"\x61\x19\xac\x25\xfe\x94\x0e\xf7\xfb\xee\x4e\x29\xec\xd2\x31\x15")

if NULL_CIPHER:
    TABLE[0] = AeadBackend(b"none", b"nothing", evp_is_here, null_seal, null_open, 0, NULL, NULL, NULL)
    entries = 1


# ---- a build without a cipher, to measure the other costs of a packet (PYWG_NULL_CIPHER of setup.py)

cdef bint null_seal(const Aead *aead, uint64_t first_counter, uint8_t **texts, const uint32_t *lens,
                    int n) noexcept nogil:
    return True


cdef uint64_t null_open(const Aead *aead, const uint64_t *counters, uint8_t **texts, const uint32_t *lens,
                        int n) noexcept nogil:
    return ~<uint64_t>0 >> (AEAD_BATCH - n)


# ---- whether a backend is right, and how fast

cdef struct Trial:
    # A backend, and a batch of datagrams of one length to seal and to open with it.
    uint8_t key[KEY_LEN]
    Aead sealer
    Aead opener
    uint8_t *memory
    uint8_t *datagrams[AEAD_BATCH]
    uint32_t wire_lens[AEAD_BATCH]


cdef bint trial_begin(Trial *trial, const AeadBackend *backend) except -1:
    """False: the library failed. trial_end() must follow in either case, but not after a MemoryError.

    Sets errno to 0: it tells afterwards whether a library failed for want of memory.
    """
    memcpy(trial.key, ANSWER_KEY, KEY_LEN)
    aead_init(&trial.sealer, backend, True)
    aead_init(&trial.opener, backend, False)
    trial.memory = <uint8_t *>malloc(TRIAL_MEMORY)
    if trial.memory == NULL:
        raise MemoryError
    linux.errno = 0
    if aead_use(&trial.sealer, trial.key) == 0 and aead_use(&trial.opener, trial.key) == 0:
        return True
    if linux.errno == ENOMEM:
        trial_end(trial)
        raise MemoryError
    return False


cdef void trial_end(Trial *trial) noexcept:
    aead_free(&trial.sealer)
    aead_free(&trial.opener)
    free(trial.memory)


cdef uint32_t trial_lay_out(Trial *trial, int n, uint32_t text_len) noexcept:
    """Writes the batch's texts. How many bytes the batch takes."""
    cdef int i
    cdef uint32_t wire_len = WG_HEADER_LEN + text_len + TAG_LEN
    memset(trial.memory, 0x5A, n * wire_len)
    for i in range(n):
        trial.datagrams[i] = trial.memory + <size_t>i * wire_len
        trial.wire_lens[i] = wire_len
        memset(trial.datagrams[i] + WG_HEADER_LEN, i, text_len)
    return n * wire_len


cdef void trial_seal(Trial *trial, int n, uint64_t first_counter) noexcept:
    """Seals as the threads do: the key is set for one batch."""
    aead_use(&trial.sealer, trial.key)
    seal_batch(&trial.sealer, trial.datagrams, trial.wire_lens, n, 0, first_counter)
    aead_forget(&trial.sealer)


cdef bint knows_the_answer(Trial *mine) noexcept:
    trial_lay_out(mine, 1, ANSWER_LEN)
    memcpy(mine.datagrams[0] + WG_HEADER_LEN, ANSWER_TEXT, ANSWER_LEN)
    trial_seal(mine, 1, 0x0807060504030201)
    return memcmp(mine.datagrams[0] + WG_HEADER_LEN, ANSWER, ANSWER_LEN + TAG_LEN) == 0


cdef bint agrees(Trial *mine, Trial *evp, int n, uint32_t text_len) noexcept:
    """Whether the backend seals what EVP seals, opens it again, and refuses it with one bit changed."""
    cdef uint64_t first_counter = 0xFFFFFFFE
    cdef uint64_t everything = ~<uint64_t>0 >> (AEAD_BATCH - n)
    cdef uint32_t used = trial_lay_out(evp, n, text_len)
    cdef uint8_t *text
    cdef int i
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


cdef bint aead_is_right(const AeadBackend *backend) except -1:
    """Whether a backend gives right results. It must be here. MemoryError: that can't be told."""
    cdef Trial mine, evp
    cdef bint right = trial_begin(&mine, backend)
    try:
        right = trial_begin(&evp, &TABLE[0]) and right
        right = (right and knows_the_answer(&mine) and agrees(&mine, &evp, 1, 0) and agrees(&mine, &evp, 16, 1420)
                 and agrees(&mine, &evp, 17, 65) and agrees(&mine, &evp, 64, 33) and agrees(&mine, &evp, 3, 2048))
        trial_end(&evp)
        if not right and linux.errno == ENOMEM:
            raise MemoryError
    finally:
        trial_end(&mine)
    return right


cdef uint64_t seal_time(const AeadBackend *backend) except 0:
    """The ns that a batch of full packets takes. The backend must be right."""
    cdef Trial trial
    cdef uint64_t start, took = NEVER
    if trial_begin(&trial, backend):
        trial_lay_out(&trial, TRIAL_BATCH, TRIAL_PACKET)
        start = now_ns()
        trial_seal(&trial, TRIAL_BATCH, 0)
        took = now_ns() - start
    trial_end(&trial)
    return took


# ---- the choice

cdef bint may_be_chosen(int entry) except -1:
    """Whether the backend is right. Each is tried once, when it is first asked for."""
    if verdicts[entry] == UNTRIED:
        verdicts[entry] = RIGHT if NULL_CIPHER or aead_is_right(&TABLE[entry]) else WRONG
    return verdicts[entry] == RIGHT


cdef const AeadBackend *find_fastest() except? NULL:
    """The fastest backend that is right, measured once. NULL, without an exception: none is right.

    Each is measured by turns, and its least time counts: what else the machine does for a while slows them all, and not
    the one alone whose time it is.
    """
    global fastest
    cdef const AeadBackend *leads = NULL
    cdef uint64_t took, best = NEVER
    cdef int entry
    if fastest != NULL:
        return fastest
    for _ in range(TRIAL_ROUNDS):
        for entry in range(entries):
            if TABLE[entry].is_here(TABLE[entry].kernel) and may_be_chosen(entry):
                took = seal_time(&TABLE[entry])
                if took < best:
                    best = took
                    leads = &TABLE[entry]
    fastest = leads     # not before: where memory is lacking in between, it is measured anew
    return fastest


cdef const AeadBackend *aead_choose(str name) except NULL:
    """The backend of that name, or for "auto" the fastest. ValueError: it is unknown, not on this machine, or wrong.

    RuntimeError: "auto" finds none. MemoryError: no memory to try them with.
    """
    cdef const AeadBackend *chosen = NULL
    cdef int entry
    if name == "auto":
        chosen = find_fastest()
        if chosen == NULL:
            raise RuntimeError("no AEAD backend gives right results on this machine: libcrypto lacks ChaCha20-Poly1305")
        return chosen
    for entry in range(entries):
        if TABLE[entry].name != name.encode():
            continue
        if not TABLE[entry].is_here(TABLE[entry].kernel):
            why = f"needs {TABLE[entry].needs.decode()}"
        elif may_be_chosen(entry):
            return &TABLE[entry]
        else:
            why = "gives wrong results on this machine"
        break
    else:
        why = "is not known"
    raise ValueError(f"the AEAD backend {name!r} {why}: choose one of {', '.join(['auto', *available()])}")


cdef const AeadBackend *aead_backends(int *count) noexcept:
    """The table, with backends that this machine can't run."""
    count[0] = entries
    return TABLE


cdef bint aead_was_tried(const AeadBackend *backend) noexcept:
    """Whether an entry of the table has been compared with EVP, because it was asked for."""
    return verdicts[backend - TABLE] != UNTRIED


def available() -> tuple[str, ...]:
    """The names of this machine's backends, EVP first. This tries none of them."""
    cdef int entry
    return tuple([TABLE[entry].name.decode() for entry in range(entries)
                  if TABLE[entry].is_here(TABLE[entry].kernel)])


def choose(str name) -> str:
    """The name of the backend that a plane with this `aead` gets. ValueError as of `Plane`."""
    return aead_choose(name).name.decode()


def libcrypto() -> tuple[str, str]:
    """The libcrypto in use: its version, in its own words, and the file that it was loaded from, or ""."""
    cdef Dl_info info
    cdef bint found = dladdr(<const void *>&OpenSSL_version, &info) != 0 and info.dli_fname != NULL
    return OpenSSL_version(OPENSSL_VERSION).decode(), info.dli_fname.decode() if found else ""
