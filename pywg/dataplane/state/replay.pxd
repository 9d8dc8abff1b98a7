"""The replay window of one receiving key: which counters have been seen.

RFC 6479 with the kernel's sizes: a ring of 8192 bits in 64-bit words, one of which the greatest counter is filling, so
a counter may be up to 8128 behind the greatest one. Callers serialize: one window belongs to one thread at a time, or
to a lock. Only an authenticated packet may move it: `replay_accept` comes after the AEAD, `replay_plausible` may come
before.
"""
from libc.stdint cimport uint64_t
from libc.string cimport memset
from pywg.dataplane.wire.limits cimport REJECT_AFTER_MESSAGES

cdef enum:
    REPLAY_WORDS = 128
    REPLAY_WINDOW = (REPLAY_WORDS - 1) * 64     # how far a counter may be behind the greatest one


cdef struct ReplayWindow:               # all zeros: that of a fresh key
    uint64_t next                       # the greatest counter accepted, plus one; 0: none yet
    uint64_t bitmap[REPLAY_WORDS]       # bit (counter + 1) mod 8192: seen


cdef inline bint replay_plausible(const ReplayWindow *window, uint64_t counter) noexcept nogil:
    """False for a counter that `replay_accept` would refuse. Changes nothing: for unauthenticated packets."""
    if counter >= REJECT_AFTER_MESSAGES:
        return False
    cdef uint64_t place = counter + 1
    if place > window.next:
        return True
    if window.next - place > REPLAY_WINDOW:
        return False
    return not (window.bitmap[(place >> 6) & (REPLAY_WORDS - 1)] >> (place & 63)) & 1


cdef inline bint replay_accept(ReplayWindow *window, uint64_t counter) noexcept nogil:
    """Marks the counter of an authenticated packet as seen. False: it was seen, is too old, or is past the limit."""
    if counter >= REJECT_AFTER_MESSAGES:
        return False
    cdef uint64_t place = counter + 1
    cdef uint64_t word = place >> 6
    cdef uint64_t current = window.next >> 6
    cdef uint64_t bit = <uint64_t>1 << (place & 63)
    cdef uint64_t i
    if place > window.next:
        # The words between hold counters of the ring's previous round; after a jump of a whole ring every word does.
        if word - current >= REPLAY_WORDS:
            memset(window.bitmap, 0, sizeof(window.bitmap))
        else:
            for i in range(current + 1, word + 1):
                window.bitmap[i & (REPLAY_WORDS - 1)] = 0
        window.next = place
    elif window.next - place > REPLAY_WINDOW:
        return False
    word &= REPLAY_WORDS - 1
    if window.bitmap[word] & bit:
        return False
    window.bitmap[word] |= bit
    return True


cdef inline bint replay_sane(const ReplayWindow *window) noexcept nogil:
    """Whether a window that comes from elsewhere can be one: any bits are, but no counter past the limit."""
    return window.next <= REJECT_AFTER_MESSAGES
