"""The threads' events, activity and counters, as Python objects."""
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.peer cimport Peer

cdef tuple snapshot_events(Dataplane *dp, int limit)
cdef tuple snapshot_activity(Peer *peer)
cdef dict snapshot_counters(const Dataplane *dp)
cdef dict snapshot_batches(const Dataplane *dp)
cdef dict snapshot_offloads(const Dataplane *dp, bint udp_gso)
