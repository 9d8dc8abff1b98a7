"""Why a packet was dropped, and what the offloads did: one counter a reason, shared by all threads (relaxed adds)."""
from libc.stdint cimport uint64_t
from pywg._native.atomic cimport add64

# The order is that of COUNTER_NAMES in counters.pyx.
cdef enum Counter:
    # outbound
    TX_NO_PEER
    TX_MALFORMED
    TX_UNKNOWN_GSO
    TX_NO_ROOM
    TX_NO_ENDPOINT
    TX_STAGED_DROPPED
    TX_SEAL_FAILED
    TX_SEND_ERROR
    TX_MESSAGE_TOO_LONG
    TX_GSO_REFUSED
    TX_SOURCE_CLEARED
    TX_PACKETS
    TX_DATAGRAMS
    TX_SENDS
    # inbound
    RX_MALFORMED
    RX_TRUNCATED
    RX_BAD_MAC1
    RX_UNKNOWN_INDEX
    RX_EXPIRED
    RX_REPLAYED
    RX_FORGED
    RX_SOURCE_NOT_ALLOWED
    RX_NOT_IP
    RX_QUEUE_FULL
    RX_RECEIVE_ERROR
    RX_KEEPALIVES
    RX_PACKETS
    RX_DATAGRAMS
    RX_RECEIVES
    RX_TUN_ERROR
    RX_TUN_WRITES
    TX_TUN_ERROR
    TX_UNREACHABLE_SENT
    RX_UNDER_LOAD
    TX_ROUTING_LOOP
    TX_SHARED           # batches that were left to whoever is free
    RX_SHARED
    TX_LENT             # times that RX's thread took over outbound packets, and gave them back
    TX_RETURNED
    TX_COOKIE_REPLIES
    RX_SOURCE_LIMITED
    RX_BAD_COOKIE_REPLY
    RX_HANDSHAKES       # messages that the control plane hears of
    TX_WAIT_ERROR       # poll() failed
    RX_WAIT_ERROR
    COUNTERS


cdef inline void count(uint64_t *counters, Counter which, uint64_t n=1) noexcept nogil:
    add64(&counters[<int>which], n)
