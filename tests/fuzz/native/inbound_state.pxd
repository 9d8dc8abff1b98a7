"""The state of a case of the inbound driver."""
from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t

from pywg.dataplane.crypto.aead_contexts cimport AeadContexts
from pywg.dataplane.crypto.blake2s cimport BLAKE2S_STATE_LEN
from pywg.dataplane.receive.receive cimport ReceivePath
from pywg.dataplane.state.counters cimport Counters
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.peer cimport Peer
from pywg.dataplane.threads.threads cimport Threads
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.wireguard cimport MAC_LEN

from tests.fuzz.native.common cimport PEERS, Session
from tests.fuzz.native.harness cimport Chance

cdef enum:
    SESSIONS = 64
    FLOWS = 24                  # more than the coalescer keeps open
    ROUNDS = 80                 # of a case, of the thread,
    DATAGRAMS = 6000            # unless it has had so many
    SEEN = 1 << 18
    ASKERS = 1 << 12
    PENDING = 1 << 17
    UDP_MAX = 65527             # with IPv6
    HANDSHAKE_INDEX = 0x9000
    MTU = 1420


cdef struct Flow:
    int version
    int protocol
    uint32_t number             # its destination
    uint32_t host
    uint32_t seq
    uint16_t id
    uint16_t step
    bint options
    uint8_t tos


cdef struct Seen:
    uint64_t counter
    uint64_t batch
    uint32_t session            # plus one; 0: the place is free


cdef struct Asker:              # a message that a cookie reply may answer
    uint32_t index
    uint8_t mac1[MAC_LEN]


cdef struct Pending:
    uint8_t *packet             # NULL: it has arrived
    uint32_t len


cdef struct Harness:
    Chance chance
    Dataplane *dp
    Threads threads                 # of the receiving thread alone
    ReceivePath *receive_path
    AeadContexts helper
    Peer *peers[PEERS]
    Endpoint endpoints[PEERS]       # where the last packet that was right came from
    uint64_t rx_bytes[PEERS]
    uint32_t handshakes[PEERS]      # index in flight
    uint32_t handshake_count
    Session sessions[SESSIONS]
    uint32_t session_count
    Flow flows[FLOWS]
    uint32_t number                 # of the last packet
    int rounds
    uint64_t batch                  # one receive
    uint64_t datagrams
    uint32_t added                  # datagrams in this batch
    bint filtered                   # replays of earlier batches don't get into this one
    bint failing                    # sockets and TUN
    bint loaded
    bint flood                      # this batch: as many datagrams as go
    bint clean                      # this message: what can be merged and is new
    Counters expected               # what the counters have to be
    uint64_t admitted               # handshake messages that may be told, held back, or answered
    Asker askers[ASKERS]
    Seen *seen
    Pending *pending
    uint32_t pending_first, pending_count
    uint64_t arrived
    uint8_t mac1_state[BLAKE2S_STATE_LEN]
    uint8_t *scratch
    uint8_t *frame
    uint8_t *piece
