"""A token bucket: at most so many tokens a second, with a burst. All zeros is an empty one. For one thread."""
from libc.stdint cimport uint64_t
from pywg.dataplane.sys.clock cimport SECOND_NS


cdef struct TokenBucket:
    uint64_t credit_ns
    uint64_t last_ns


cdef inline bint token_bucket_take(TokenBucket *bucket, uint64_t now, uint64_t per_second,
                                   uint64_t burst) noexcept nogil:
    """Takes a token. False: there is none. `now`: ns, never going back."""
    cdef uint64_t cost = SECOND_NS // per_second
    bucket.credit_ns += now - bucket.last_ns
    bucket.last_ns = now
    if bucket.credit_ns > burst * cost:
        bucket.credit_ns = burst * cost
    if bucket.credit_ns < cost:
        return False
    bucket.credit_ns -= cost
    return True
