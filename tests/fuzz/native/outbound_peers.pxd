"""The control plane of what is sent (outbound_peers.pyx)."""
from libc.stdint cimport uint32_t

from pywg.dataplane.state.peer cimport Peer

from tests.fuzz.native.outbound_state cimport Harness

cdef void hold(Harness *b) noexcept nogil
cdef void release(Harness *b) noexcept nogil
cdef void set_endpoint(Harness *b, Peer *peer, uint32_t what) noexcept nogil
cdef void begin_session(Harness *b, uint32_t i, bint confirmed, bint odd) noexcept nogil
cdef void confirm(Peer *peer) noexcept nogil
cdef void choose_offloads(Harness *b) noexcept nogil
