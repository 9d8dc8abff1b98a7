"""What another plane needs to go on where this one has stopped: keypairs with their counters, and activity.

Read by the control plane of a plane that is frozen, so nothing of it changes meanwhile.
"""
from pywg.dataplane.state.peer cimport Keypair, Peer

cdef tuple carried_keypair(const Keypair *keypair, bint sending)
cdef tuple carried_activity(const Peer *peer)
