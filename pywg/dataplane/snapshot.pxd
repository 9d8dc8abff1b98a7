"""What the threads have to say, as Python objects: events, activity, counters."""
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.peer cimport Peer

cdef tuple report_events(Dataplane *dp, int limit)
cdef tuple report_activity(Peer *peer)
cdef dict report_counters(const Dataplane *dp)
cdef dict report_offloads(const Dataplane *dp, bint udp_gso)
