"""What decides whether a handshake message passes, by itself: MACs, cookies, rate limits, and the time that answers may
take."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cimport cython

from pywg.dataplane.crypto.blake2s cimport BLAKE2S_MAC_LEN, BLAKE2S_STATE_LEN, blake2s_key, blake2s_mac
from pywg.dataplane.crypto.cookie_mac cimport COOKIE_LEN, Macs, mac2_holds, macs_free, macs_init, make_cookie
from pywg.dataplane.receive.budget cimport Budget, budget_allows, budget_spend
from pywg.dataplane.receive.ratelimiter cimport RateLimiter, ratelimiter_init, ratelimiter_take
from pywg.dataplane.state.token_bucket cimport TokenBucket, token_bucket_take
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.wireguard cimport KEY_LEN, MAC_LEN


def mac(bytes key: bytes, bytes data: bytes) -> bytes:
    """The 16-byte MAC; ValueError for a key that has not 1 to 32 bytes, or no data."""
    cdef uint8_t state[BLAKE2S_STATE_LEN]
    cdef uint8_t digest[BLAKE2S_MAC_LEN]
    if not 1 <= len(key) <= KEY_LEN or not data:
        raise ValueError("a key has 1 to 32 bytes, and there is something to authenticate")
    blake2s_key(state, <const uint8_t *>PyBytes_AS_STRING(key), <uint32_t>len(key))
    blake2s_mac(state, <const uint8_t *>PyBytes_AS_STRING(data), <uint32_t>len(data), digest)
    return PyBytes_FromStringAndSize(<const char *>digest, BLAKE2S_MAC_LEN)


cdef int locate(bytes ip, int port, Endpoint *source) except -1:
    if len(ip) not in (4, 16):
        raise ValueError("an address is 4 or 16 bytes")
    memset(source, 0, sizeof(Endpoint))
    source.ip_len = <uint8_t>len(ip)
    memcpy(source.ip, PyBytes_AS_STRING(ip), len(ip))
    source.port = <uint16_t>(port >> 8 | (port & 0xFF) << 8)
    return 0


@cython.final
cdef class Cookies:
    """The cookies of one receiver at any time, given in ns that never go back."""
    cdef Macs macs

    def __cinit__(self):
        if macs_init(&self.macs) < 0:
            raise MemoryError

    def __dealloc__(self):
        macs_free(&self.macs)

    def make(self, bytes ip: bytes, int port, uint64_t now_ns) -> bytes:
        """The cookie of this address."""
        cdef Endpoint source
        cdef uint8_t cookie[COOKIE_LEN]
        locate(ip, port, &source)
        if not make_cookie(&self.macs, &source, now_ns, cookie):
            raise MemoryError("no random bytes")
        return PyBytes_FromStringAndSize(<const char *>cookie, COOKIE_LEN)

    def holds(self, bytes message: bytes, bytes ip: bytes, int port, uint64_t now_ns) -> bool:
        """Whether mac2, the last 16 bytes of the message, is under a cookie of this address that is believed."""
        cdef Endpoint source
        if len(message) < 2 * MAC_LEN:
            raise ValueError("a message with MACs has 32 bytes at least")
        locate(ip, port, &source)
        return mac2_holds(&self.macs, <uint8_t *>PyBytes_AS_STRING(message), <uint32_t>len(message), &source, now_ns)


def spend(work: list[tuple[int, int]], bint pressure=False) -> list[bool]:
    """Of each (time of arrival, time that the work takes), in ns: whether it is done. The arrivals never go back."""
    cdef Budget budget
    cdef list done = []
    cdef uint64_t now, needed
    cdef bint allowed
    budget.credit_ns = 0
    budget.last_ns = 0
    for now, needed in work:
        allowed = budget_allows(&budget, now, pressure)
        if allowed:
            budget_spend(&budget, needed)
        done.append(allowed)
    return done


def take(times: list[int], uint64_t per_second, uint64_t burst) -> list[bool]:
    """Of each time of asking a new bucket, in ns that never go back: whether there was a token."""
    cdef TokenBucket bucket
    cdef list taken = []
    cdef uint64_t now
    memset(&bucket, 0, sizeof(bucket))
    for now in times:
        taken.append(bool(token_bucket_take(&bucket, now, per_second, burst)))
    return taken


@cython.final
cdef class SourceLimits:
    """The limit of each source, in ns that never go back. `ip`: packed, 4 or 16 bytes, else ValueError."""
    cdef RateLimiter *sources

    def __cinit__(self):
        self.sources = <RateLimiter *>calloc(1, sizeof(RateLimiter))
        if self.sources == NULL or not ratelimiter_init(self.sources):
            raise MemoryError

    def __dealloc__(self):
        free(self.sources)

    def take(self, bytes ip: bytes, uint64_t now_ns) -> bool:
        """Whether this source may bring one more message."""
        cdef Endpoint source
        locate(ip, 0, &source)
        return bool(ratelimiter_take(self.sources, &source, now_ns))
