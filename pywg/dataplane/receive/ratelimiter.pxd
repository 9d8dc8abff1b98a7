"""Under load: how many handshake messages each source may bring, once its cookie has proved that it is that source.

Never before: whoever forges an address would use up what its owner may bring. A source is an IPv4 address or an IPv6
/64. Its bucket is found by a keyed hash: several share one, but nobody can aim at another, and the sharing changes once
a second, sooner than a handshake is tried again. Each change gives a source its burst anew. One thread's.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy
from pywg.dataplane.state.token_bucket cimport TokenBucket, token_bucket_take
from pywg.dataplane.sys.libcrypto cimport RAND_bytes
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.limits cimport SOURCE_HANDSHAKES_BURST, SOURCE_HANDSHAKES_PER_SECOND

cdef enum:
    SOURCE_BUCKETS_LOG2 = 12
    EPOCH_LOG2_NS = 30


cdef struct RateLimiter:
    uint64_t key[2]
    TokenBucket buckets[1 << SOURCE_BUCKETS_LOG2]


cdef inline bint ratelimiter_init(RateLimiter *sources) noexcept nogil:
    """Of a structure that is all zeros. False: the system has no random bytes."""
    return RAND_bytes(<unsigned char *>sources.key, sizeof(sources.key)) == 1


cdef inline uint32_t sources_bucket(const RateLimiter *sources, const Endpoint *source, uint64_t now) noexcept nogil:
    """Multiply, shift, multiply: both factors are odd and secret."""
    cdef uint64_t hash = 0
    memcpy(&hash, source.ip, 4 if source.ip_len == 4 else 8)
    hash = (hash ^ (now >> EPOCH_LOG2_NS) << 40) * (sources.key[0] | 1)
    hash = (hash ^ hash >> 32) * (sources.key[1] | 1)
    return <uint32_t>(hash >> (64 - SOURCE_BUCKETS_LOG2))


cdef inline bint ratelimiter_take(RateLimiter *sources, const Endpoint *source, uint64_t now) noexcept nogil:
    """Whether this source may bring one more."""
    cdef TokenBucket *bucket = &sources.buckets[sources_bucket(sources, source, now)]
    return token_bucket_take(bucket, now, SOURCE_HANDSHAKES_PER_SECOND, SOURCE_HANDSHAKES_BURST)
