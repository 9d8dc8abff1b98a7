"""The addresses of the instructions that a call executes, in their order: whether a branch depends on a secret.

Of two calls that differ in secrets alone. The processor's trap flag stops after each instruction, so it works for those
of every extension, as no emulator does.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from pywg.dataplane.crypto.blake2s cimport BLAKE2S_STATE_LEN, blake2s_key
from pywg.dataplane.crypto.cookie_mac cimport Macs, mac1_holds as plane_mac1_holds, mac2_holds as plane_mac2_holds
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.wireguard cimport KEY_LEN

cdef extern from "<signal.h>" nogil:
    struct sigaction_ "sigaction":
        pass

cdef extern from "steps.h" nogil:
    enum:
        STEPS_RANGES
    struct c_steps "steps":
        uint64_t from_ "from"[STEPS_RANGES]
        uint64_t to[STEPS_RANGES]
        int ranges
        uint64_t *at
        size_t count
        size_t room
    int steps_begin(c_steps *steps, sigaction_ *before)
    void steps_end(const sigaction_ *before)
    bint steps_early_exit(const uint8_t *one, const uint8_t *other, size_t len)

cdef enum:
    ROOM = 4_000_000


def trace(function, ranges: list[tuple[int, int]]) -> bytes:
    """Calls `function()`; the addresses within `ranges` of what it executes, 8 bytes each.

    RuntimeError where the machine can't tell, or they are more than 4,000,000.
    """
    cdef c_steps steps
    cdef sigaction_ before
    cdef int failed
    if len(ranges) > STEPS_RANGES:
        raise ValueError(f"up to {STEPS_RANGES} ranges")
    memset(&steps, 0, sizeof(steps))
    for low, high in ranges:
        steps.from_[steps.ranges] = low
        steps.to[steps.ranges] = high
        steps.ranges += 1
    steps.room = ROOM
    steps.at = <uint64_t *>malloc(ROOM * sizeof(uint64_t))
    if steps.at == NULL:
        raise MemoryError
    try:
        failed = steps_begin(&steps, &before)
        if failed:
            raise RuntimeError("instructions are traced on x86-64 alone")
        try:
            function()
        finally:
            steps_end(&before)
        if steps.count > steps.room:
            raise RuntimeError("too many instructions")
        return PyBytes_FromStringAndSize(<char *>steps.at, steps.count * sizeof(uint64_t))
    finally:
        free(steps.at)


def early_exit(bytes one: bytes, bytes other: bytes) -> bool:
    """Whether both are the same, by a comparison that ends at the first difference."""
    return steps_early_exit(<const uint8_t *>PyBytes_AS_STRING(one), <const uint8_t *>PyBytes_AS_STRING(other),
                            min(len(one), len(other)))


def mac1_holds(bytes key: bytes, bytes message: bytes) -> bool:
    """Whether the message has a MAC1 under this key, as the data plane finds out."""
    cdef Macs macs
    memset(&macs, 0, sizeof(macs))
    macs.has_key = True
    blake2s_key(macs.mac1_state, <const uint8_t *>PyBytes_AS_STRING(key), KEY_LEN)
    return plane_mac1_holds(&macs, <const uint8_t *>PyBytes_AS_STRING(message), <uint32_t>len(message))


def mac2_holds(bytes secret: bytes, bytes message: bytes) -> bool:
    """Whether the message, from nowhere, has a MAC2 under a cookie that this secret makes."""
    cdef Macs macs
    cdef Endpoint source
    cdef uint8_t states[2 * BLAKE2S_STATE_LEN]
    memset(&macs, 0, sizeof(macs))
    memset(&source, 0, sizeof(source))
    source.ip_len = 4
    blake2s_key(states, <const uint8_t *>PyBytes_AS_STRING(secret), KEY_LEN)
    macs.secrets = states
    macs.secret_count = 1
    return plane_mac2_holds(&macs, <const uint8_t *>PyBytes_AS_STRING(message), <uint32_t>len(message), &source, 0)
