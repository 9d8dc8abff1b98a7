"""The state of a case of the outbound driver."""
from libc.stdint cimport uint32_t, uint64_t, uint8_t

from pywg.dataplane.crypto.aead_contexts cimport AeadContexts
from pywg.dataplane.send.send cimport SendPath
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.peer cimport Peer

from tests.fuzz.native.common cimport PEERS, Session
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
    SESSIONS = 96
    OPS = 96                # of a case
    UDP_MAX = 65507
    HEALTHY = 0             # moods of the sockets
    FULL = 1
    FLAKY = 2


cdef struct Harness:
    Chance chance
    Dataplane *dp
    SendPath *send_path
    AeadContexts helper
    Peer *peers[PEERS]              # the first gets what is damaged, and is not looked at
    Session sessions[SESSIONS]
    uint32_t session_count
    uint32_t number                 # of the last frame
    uint32_t arrived[PEERS]         # the number of the last packet that arrived
    uint32_t frames_left            # in the TUN
    int until_confirmed             # frames; then the burst's peer has a session
    uint64_t frames, datagrams
    int mood
    # What the frames of a burst have in common
    uint32_t burst_peer
    int burst_version
    uint32_t[2] burst_lens          # one of the two; 0: each has another
    bint giants                     # a few fill a buffer
    Plan plan                       # the frames that come first
    int plan_protocol               # of its superframes
    uint8_t *scratch
