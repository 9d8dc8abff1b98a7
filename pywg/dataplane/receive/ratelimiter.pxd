"""The rate limit of handshake messages for each source, under load.

It counts only messages whose cookie has proved their source: otherwise an attacker that forges an address would use up
the share of that address. A source is an IPv4 address or an IPv6 /64. A keyed hash finds its bucket. Several sources
share a bucket, but an attacker can't aim at another source's. The sharing changes once a second, sooner than a
handshake is tried again, and each change gives a source its burst anew. For one thread.
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
    """`sources` is all zeros. False: the system has no random bytes."""
    return RAND_bytes(<unsigned char *>sources.key, sizeof(sources.key)) == 1


cdef inline uint32_t sources_bucket(const RateLimiter *sources, const Endpoint *source, uint64_t now) noexcept nogil:
    """The index of the source's bucket: multiply, shift, multiply, where both factors are odd and secret."""
    cdef uint64_t hash = 0
    memcpy(&hash, source.ip, 4 if source.ip_len == 4 else 8)
    hash = (hash ^ (now >> EPOCH_LOG2_NS) << 40) * (sources.key[0] | 1)
    hash = (hash ^ hash >> 32) * (sources.key[1] | 1)
    return <uint32_t>(hash >> (64 - SOURCE_BUCKETS_LOG2))


cdef inline bint ratelimiter_take(RateLimiter *sources, const Endpoint *source, uint64_t now) noexcept nogil:
    """Whether this source may bring one more message."""
    cdef TokenBucket *bucket = &sources.buckets[sources_bucket(sources, source, now)]
    return token_bucket_take(bucket, now, SOURCE_HANDSHAKES_PER_SECOND, SOURCE_HANDSHAKES_BURST)
