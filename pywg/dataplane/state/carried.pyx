"""Keypairs and activity as Python objects (carried.pxd). The keys go from arena to arena."""
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memcpy
from pywg.dataplane.state.peer cimport Keypair, Peer
from pywg.dataplane.state.replay cimport ReplayWindow
from pywg.dataplane.sys.atomic cimport load64
from pywg.dataplane.wire.wireguard cimport KEY_LEN

from pywg.dataplane.crypto.secret import Secret as _Secret


cdef tuple carried_keypair(const Keypair *keypair, bint sending):
    """The fields of KeypairState (runtime/device/plane.py). `sending`: it is the one to seal with."""
    cdef Py_buffer into
    keys = _Secret(length=2 * KEY_LEN)
    PyObject_GetBuffer(keys, &into, PyBUF_WRITABLE)
    memcpy(into.buf, keypair.keys, 2 * KEY_LEN)
    PyBuffer_Release(&into)
    return (
        keypair.local_index, keypair.remote_index, keys, keypair.initiator != 0, keypair.expired != 0,
        keypair.birth_ns, keypair.next_counter,
        PyBytes_FromStringAndSize(<const char *>&keypair.window, sizeof(ReplayWindow)), sending,
        keypair.peer.next == keypair,
    )


cdef tuple carried_activity(const Peer *peer):
    return (
        load64(&peer.tx_bytes), load64(&peer.rx_bytes), load64(&peer.unanswered_since),
        load64(&peer.keepalive_owed_since), load64(&peer.last_sent), load64(&peer.last_received),
        load64(&peer.last_data_sent),
    )
