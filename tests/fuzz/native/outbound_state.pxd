"""The state of the outbound target."""
from libc.stdint cimport uint32_t, uint64_t, uint8_t

from pywg.dataplane.send.send cimport SendPath
from pywg.dataplane.state.dataplane cimport Dataplane

from tests.fuzz.native.common cimport LAYOUTS, PEERS, SESSIONS, World
from tests.fuzz.native.harness cimport Chance

cdef extern from "plans.h" nogil:
    enum:
        PLAN_TO_THE_END
    struct Planned "planned":
        uint32_t len, gso_size
    struct Plan "plan":
        Planned frames[1]       # PLAN_MAX
        uint32_t count, at
    struct PlanTerms "plan_terms":
        uint32_t shortest, headers, mtu, batch_bytes, staged_bytes, datagrams, runs, runs_of_a_frame
    void plan_add(Plan *p, uint32_t len, uint32_t gso_size)
    uint32_t plan_wire_len(uint32_t len, uint32_t mtu)
    void plan_part(Plan *p, Chance *c, const PlanTerms *t, bint offloads, bint staged)
    void plan_end(Plan *p, Chance *c, const PlanTerms *t, bint offloads)

cdef enum:
    # Of an input's frames. One input in eight may fill a batch and what is staged twice; the others are fast.
    FEW_BYTES = 12000
    FEW_FRAMES = 40
    MANY_BYTES = 600000
    MANY_FRAMES = 800
    UDP_MAX = 65507
    SEQ_STEP = 0x01000193       # of TCP's numbers, from frame to frame
    SEEN = 1 << 14              # counters of a session: no input with few bytes has more
    SEEN_BYTES = 1 << 11
    HEALTHY = 0                 # moods of the sockets
    FULL = 1
    FLAKY = 2


cdef struct Frame:              # what the frames in the TUN have in common, until it is chosen anew
    uint32_t peer
    int version
    int protocol
    uint32_t len
    int grows                   # by so many bytes, from frame to frame
    bint unfinished             # the checksum
    uint32_t gso_size           # 0: a packet
    uint8_t tos
    int tunnel                  # its kind (traffic.h), with the version of its own header above; 0: none


cdef struct Harness:
    Chance chance
    World world
    SendPath *paths[LAYOUTS]
    SendPath paths_before[LAYOUTS]
    SendPath *path                  # one of them, or the second shard's while that sends
    bint two                        # shards; the second has no helpers
    Dataplane *second
    Dataplane second_before
    SendPath *second_path
    SendPath second_path_before
    uint64_t first_counters[SESSIONS]   # with two shards: the first, and
    uint8_t seen[SESSIONS][SEEN_BYTES]  # those behind it that have arrived, a bit each
    uint32_t number                 # of the last frame
    uint32_t arrived[PEERS]         # the number of the last packet that arrived
    uint32_t frames_left            # in the TUN
    uint32_t repeated               # as many have what the last one had
    Frame frame
    bint heavy                      # many of both
    uint32_t bytes_left             # of all frames
    uint32_t frames_max
    int until_confirmed             # frames; then the peer of the burst has a session
    uint32_t burst_peer
    uint64_t frames, datagrams
    int mood
    Plan plan                       # the frames that come first
    int plan_protocol               # of its superframes
    int plan_version
    uint8_t *scratch
