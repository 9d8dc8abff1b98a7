"""The control plane of what is received (inbound_peers.pyx)."""
from libc.stdint cimport uint32_t

from tests.fuzz.native.inbound_state cimport Flow, Harness

cdef void add_peer(Harness *b, uint32_t i) noexcept nogil
cdef void begin_peer(Harness *b, uint32_t i) noexcept nogil
cdef void begin_handshake(Harness *b, uint32_t i) noexcept nogil
cdef void begin_session(Harness *b, uint32_t i, bint confirmed, bint odd) noexcept nogil
cdef void first_flow(Flow *flow, uint32_t i) noexcept nogil
cdef void renew_flow(Harness *b, Flow *flow) noexcept nogil
cdef void choose_offloads(Harness *b, uint32_t what) noexcept nogil
cdef void note_ends(Harness *b) noexcept nogil
cdef void hear(Harness *b) noexcept nogil
