"""The paper's numbers that the data plane uses, each written once; limits.pyx gives them, and the labels, to Python.

Sections 5.4.7 (cookies) and 6 (times and counts); where the paper leaves a number to the implementation, the kernel's
drivers/net/wireguard/messages.h and ratelimiter.c. Durations are seconds.
"""
from libc.stdint cimport uint64_t

cdef extern from * nogil:
    """
    #define PYWG_REKEY_AFTER_MESSAGES (UINT64_C(1) << 60)
    #define PYWG_REJECT_AFTER_MESSAGES (UINT64_MAX - (UINT64_C(1) << 13))
    """
    const uint64_t REKEY_AFTER_MESSAGES "PYWG_REKEY_AFTER_MESSAGES"         # more than an enum holds
    const uint64_t REJECT_AFTER_MESSAGES "PYWG_REJECT_AFTER_MESSAGES"       # 2^64 - 2^13 - 1

cpdef enum:
    REKEY_AFTER_TIME = 120
    REJECT_AFTER_TIME = 180
    REKEY_TIMEOUT = 5
    KEEPALIVE_TIMEOUT = 10
    # The age at which the initiator of a session that only receives starts the next one (section 6.2).
    RECEIVER_REKEY_TIME = REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT
    # The age up to which a cookie secret is believed, and a received cookie used (section 5.4.7).
    COOKIE_SECRET_MAX_AGE = 120
    # The age at which a new secret makes the cookies: the last cookie of the old one outlives its sender's next try.
    COOKIE_SECRET_RENEWAL = 110
    SOURCE_HANDSHAKES_PER_SECOND = 20
    SOURCE_HANDSHAKES_BURST = 5
    # Packets of one peer that wait for a session; the oldest is dropped when there are more.
    STAGED_PACKETS = 128
    # Previous, current and next: the core's roles (core/keypair.py), for each of which the plane counts memory.
    KEYPAIRS_PER_PEER = 3
