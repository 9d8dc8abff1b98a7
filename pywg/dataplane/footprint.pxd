"""The memory that a data plane holds, and the most that it can come to hold: every buffer is counted here."""
from pywg.dataplane.state.dataplane cimport Dataplane

cdef dict footprint_of(const Dataplane *dp, size_t peers, size_t slots, size_t threads, size_t lanes)
