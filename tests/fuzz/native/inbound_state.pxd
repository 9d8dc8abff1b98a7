"""The state of the inbound target."""
from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t

from pywg.dataplane.crypto.blake2s cimport BLAKE2S_STATE_LEN
from pywg.dataplane.receive.receive cimport ReceivePath
from pywg.dataplane.state.counters cimport Counters
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.threads.loops cimport Threads
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.wireguard cimport MAC_LEN

from tests.fuzz.native.common cimport LAYOUTS, PEERS, World
from tests.fuzz.native.harness cimport Chance

cdef enum:
    FLOWS = 24                  # more than the coalescer keeps open
    # Of an input. One in sixteen inputs has more datagrams than a batch has room for; the others are fast.
    FEW_DATAGRAMS = 60
    FEW_BYTES = 12000
    MANY_DATAGRAMS = 5000
    MANY_BYTES = 500000
    SEEN = 1 << 14
    ASKERS = 1 << 8
    PENDING = 1 << 13
    STORE = 1 << 21             # bytes of the packets that are expected
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
    int tunnel                  # its kind (traffic.h), of TCP; 0: none


cdef struct Seen:
    uint64_t input              # another one: the place is free
    uint64_t counter
    uint64_t batch
    uint32_t session


cdef struct Asker:              # a message that a cookie reply may answer
    uint32_t index
    uint8_t mac1[MAC_LEN]


cdef struct Pending:
    uint8_t *packet             # NULL: it has arrived
    uint32_t len


cdef struct Harness:
    Chance chance
    World world
    Threads threads                 # of the receiving thread alone
    ReceivePath *paths[LAYOUTS]
    ReceivePath *paths_before[LAYOUTS]
    ReceivePath *receive_path       # one of them, or the second shard's while that receives
    bint two                        # shards; the second has no helpers
    Dataplane *second
    Dataplane second_before
    ReceivePath *second_path
    ReceivePath *second_path_before
    uint64_t input                  # its number
    bint heavy                      # it may have many datagrams
    uint32_t bytes_left
    uint32_t datagrams_left
    Endpoint endpoints[PEERS]       # where the last packet that was right came from
    uint64_t rx_bytes[PEERS]
    uint32_t handshakes[PEERS]      # index in flight
    uint32_t handshake_count
    Flow flows[FLOWS]
    uint32_t number                 # of the last packet
    uint64_t batch                  # one receive
    uint32_t added                  # datagrams in this batch
    bint filtered                   # replays of earlier batches don't get into this one
    bint failing                    # sockets and TUN
    bint refusing                   # the TUN: superframes of tunnels
    bint noted[7][FLOWS]            # by IP version and number: the end of a tunnel is known
    bint loaded
    bint flood                      # this batch: as many datagrams as go
    bint clean                      # this message: what can be merged and is new
    Counters expected               # what the counters have to be
    uint64_t admitted               # handshake messages that may be told, held back, or answered
    Asker askers[ASKERS]
    Seen *seen
    Pending *pending
    uint32_t pending_first, pending_count
    uint8_t *store
    uint32_t stored
    uint8_t mac1_state[BLAKE2S_STATE_LEN]
    uint8_t *scratch
    uint8_t *frame
    uint8_t *piece
