"""Admission of handshake messages to the control plane, and cookie replies to their senders under load.

Paper, sections 5.3, 5.4.4 and 5.4.7. For the receiving thread alone. A handshake costs the control plane a hundred
times what it takes to refuse a message here, so a message passes only if its sender had to work for it. The sender has
to know our public key (MAC1), and for an answer an index of ours that is in use. Under load it also needs a cookie
(MAC2), and its source must keep below a rate. No message counts against a source before a cookie has proved the source:
it could be forged.

A message that passes is worth the work, and no more. The core (core/tunnel.py) decides about it, by its own keys and
indices, which may have changed since: it checks MAC1 and the index again.

Under load this thread answers a message without a cookie with one, for as much of its time as the budget gives. The
messages beyond that are dropped, also those of honest senders.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg.dataplane.crypto.xchacha20poly1305 cimport XNONCE_LEN
from pywg.dataplane.receive.budget cimport Budget
from pywg.dataplane.receive.ratelimiter cimport RateLimiter
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.peer cimport Peer
from pywg.dataplane.state.token_bucket cimport TokenBucket
from pywg.dataplane.udp.send cimport SEND_BATCH, Sender
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.wireguard cimport COOKIE_REPLY_LEN, MAC_LEN

cdef enum:
    ASKERS_MAX = SEND_BATCH         # cookie replies that are sent at a time
    CALM_PER_SECOND = 1000          # messages held back at this rate don't prolong the load,
    CALM_BURST = 512                # nor does a burst of as many as bring it about (UNDER_LOAD_AT in events.pxd)


cdef struct Asker:                  # what a cookie reply is made from
    Endpoint source
    uint32_t sender_index
    uint8_t mac1[MAC_LEN]


cdef struct Admission:
    RateLimiter sources
    TokenBucket calm
    Budget budget
    bint traces                     # this thread has worked with the secrets of cookies in this batch
    bint pressure                   # set by the owner: more messages wait than it can take
    uint32_t asker_count
    Asker askers[ASKERS_MAX]
    uint8_t nonces[ASKERS_MAX][XNONCE_LEN]
    uint8_t replies[ASKERS_MAX][COOKIE_REPLY_LEN]
    Sender sender

cdef bint admission_init(Admission *a) noexcept nogil
cdef void admission_message(Admission *a, Dataplane *dp, const Endpoint *source, const uint8_t *datagram, uint32_t len,
                            uint32_t kind, uint64_t now) noexcept nogil
cdef void admission_stray(Dataplane *dp, const Endpoint *source, const uint8_t *datagram, uint32_t len,
                          uint32_t kind) noexcept nogil
cdef void note_sent(Peer *peer, const uint8_t *message, uint32_t len) noexcept nogil
cdef void admission_answer(Admission *a, Dataplane *dp, uint64_t now) noexcept nogil
