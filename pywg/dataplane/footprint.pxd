"""How much memory a data plane holds, and how much it can come to hold: every buffer that it has is counted here."""
from pywg.dataplane.state.dataplane cimport Dataplane

cdef dict footprint_of(const Dataplane *dp, size_t peers, size_t slots, size_t threads)
