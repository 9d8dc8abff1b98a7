"""What works on secrets, on what is given in one buffer: calls whose secrets differ differ in no address.

Their instructions, addresses and times can so be compared. Some depend on what is given, and have to be found.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from pywg.dataplane.crypto.aead cimport Aead, aead_forget, aead_free, aead_init, aead_use
from pywg.dataplane.crypto.aead_select cimport aead_choose
from pywg.dataplane.crypto.blake2s cimport BLAKE2S_STATE_LEN, blake2s_key
from pywg.dataplane.crypto.cookie_mac cimport Macs, mac1_holds, mac2_holds
from pywg.dataplane.crypto.xchacha20poly1305 cimport xchacha_open, xchacha_seal
from pywg.dataplane.state.index_table cimport IndexTable, index_table_find, index_table_init, index_table_put
from pywg.dataplane.state.peer cimport Keypair, Peer
from pywg.dataplane.sys.libcrypto cimport CRYPTO_memcmp
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.wireguard cimport INITIATION_LEN, KEY_LEN, TAG_LEN

cdef extern from "steps.h" nogil:
    bint steps_early_exit(const uint8_t *one, const uint8_t *other, size_t len)

cdef extern from *:
    """
    #if defined(__x86_64__)
    #include <x86intrin.h>
    static inline uint64_t cycles_now(void)
    {
        _mm_lfence();
        uint64_t now = __rdtsc();
        _mm_lfence();
        return now;
    }
    #else
    static inline uint64_t cycles_now(void)
    {
        return 0;
    }
    #endif
    """
    uint64_t cycles_now() nogil

cdef enum:
    GIVEN_MAX = 4096
    COMPARED = 32
    NONCE = 24
    TEXTS = 3
    INDICES = 24
    CACHED = 1 << 16        # more than the first-level cache has
    LINE = 64

ctypedef void (*Work)() noexcept nogil

cdef uint8_t given[GIVEN_MAX]
cdef uint8_t zeros[COMPARED]
cdef volatile uint8_t cached[CACHED]
cdef volatile uint8_t table[256]
cdef volatile uint64_t result       # what was computed is used
cdef Aead sealer, opener
cdef IndexTable indices
cdef Peer peer
cdef uint32_t[TEXTS] lens = [64, 0, 130]


# ---- of the tests: to be found

cdef void early_exit() noexcept nogil:
    global result
    result = steps_early_exit(given, zeros, COMPARED)


cdef void lookup() noexcept nogil:
    global result
    result = table[given[0]]


cdef void find_index() noexcept nogil:
    """No secret: the index stands in the datagram. Found all the same."""
    global result
    result = <uint64_t>index_table_find(&indices, (<uint32_t *>given)[0])


# ---- the data plane's: a secret first, then what an attacker may choose

cdef void compare() noexcept nogil:
    global result
    result = CRYPTO_memcmp(given, zeros, COMPARED)


cdef void mac1() noexcept nogil:
    global result
    cdef Macs macs
    memset(&macs, 0, sizeof(macs))
    macs.has_key = True
    blake2s_key(macs.mac1_state, given, KEY_LEN)
    result = mac1_holds(&macs, given + KEY_LEN, INITIATION_LEN)


cdef void mac2() noexcept nogil:
    global result
    cdef Macs macs
    cdef Endpoint source
    cdef uint8_t states[2 * BLAKE2S_STATE_LEN]
    memset(&macs, 0, sizeof(macs))
    memset(&source, 0, sizeof(source))
    source.ip_len = 4
    blake2s_key(states, given, KEY_LEN)
    macs.secrets = states
    macs.secret_count = 1
    result = mac2_holds(&macs, given + KEY_LEN, INITIATION_LEN, &source, 0)


cdef void seal_cookie() noexcept nogil:
    xchacha_seal(given, given + KEY_LEN, given + KEY_LEN + NONCE, TAG_LEN, zeros, TAG_LEN, given + GIVEN_MAX // 2)


cdef void open_cookie() noexcept nogil:
    global result
    result = xchacha_open(given, given + KEY_LEN, given + KEY_LEN + NONCE, 2 * TAG_LEN, zeros, TAG_LEN,
                          given + GIVEN_MAX // 2)


cdef void lay_out(uint8_t **texts) noexcept nogil:
    cdef uint32_t at = KEY_LEN
    cdef int i
    for i in range(TEXTS):
        texts[i] = given + at
        at += lens[i] + TAG_LEN


cdef void seal() noexcept nogil:
    cdef uint8_t *texts[TEXTS]
    lay_out(texts)
    aead_use(&sealer, given)
    sealer.backend.seal(&sealer, 7, texts, lens, TEXTS)
    aead_forget(&sealer)


cdef void open() noexcept nogil:
    global result
    cdef uint8_t *texts[TEXTS]
    cdef uint64_t counters[TEXTS]
    cdef int i
    lay_out(texts)
    for i in range(TEXTS):
        counters[i] = 7 + <uint64_t>i
    aead_use(&opener, given)
    result = opener.backend.open(&opener, counters, texts, lens, TEXTS)
    aead_forget(&opener)


cdef Work find(str name) except NULL:
    if name == "early exit":
        return early_exit
    if name == "lookup":
        return lookup
    if name == "find index":
        return find_index
    if name == "compare":
        return compare
    if name == "MAC1":
        return mac1
    if name == "MAC2":
        return mac2
    if name == "seal cookie":
        return seal_cookie
    if name == "open cookie":
        return open_cookie
    if name == "seal":
        return seal
    if name == "open":
        return open
    raise KeyError(name)


# ---- for Python

TEXTS_LEN = sum([length + TAG_LEN for length in lens])
"""Bytes of all texts of "seal" and "open", each with room for its tag, behind the key."""


def use(str aead) -> None:
    """"seal" and "open" are this backend's from now on."""
    cdef Keypair *none = NULL
    cdef int i
    aead_free(&sealer)
    aead_free(&opener)
    aead_init(&sealer, aead_choose(aead), True)
    aead_init(&opener, aead_choose(aead), False)
    if indices.slots == NULL:
        if index_table_init(&indices) < 0:
            raise MemoryError
        for i in range(INDICES):
            index_table_put(&indices, <uint32_t>(i << 8), &peer, none)      # one behind the other


def give(bytes data) -> None:
    """What the next call works on; what it does not have is zeros."""
    if len(data) > GIVEN_MAX // 2:
        raise ValueError
    memset(given, 0, GIVEN_MAX)
    memcpy(given, PyBytes_AS_STRING(data), len(data))


def taken() -> bytes:
    """What the last call has made of it."""
    return PyBytes_FromStringAndSize(<char *>given, GIVEN_MAX // 2)


def call(str name) -> None:
    """Its result, where it has one, is nobody's."""
    cdef Work work = find(name)
    work()


def cycles(str name, list inputs, bytes order) -> list[int]:
    """How many cycles it takes with inputs[order[0]], with inputs[order[1]], and so on."""
    global result
    cdef Work work = find(name)
    cdef list found = []
    cdef uint64_t before, after
    cdef int at
    for number in order:
        give(inputs[number])
        for at in range(0, CACHED, LINE):
            result = cached[at]     # or where the input was copied from would show
        before = cycles_now()
        work()
        after = cycles_now()
        found.append(after - before)
    return found
