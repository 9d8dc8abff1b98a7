# distutils: libraries = crypto
# cython: language_level=3
"""Calls that the data plane's assertions refuse, each beside one that they let pass."""
from pywg.dataplane.reorder.reorder cimport Reorder, reorder_init, reorder_submit
from pywg.dataplane.state.dataplane cimport Dataplane, dataplane_free, dataplane_new, gates_enter, gates_leave
from pywg.dataplane.state.gate cimport gate_enter, gate_leave
from pywg.dataplane.state.peer cimport Peer
from pywg.dataplane.state.peers cimport handshake_close, peer_free, peer_new
from pywg.dataplane.state.staged cimport staged_take
from pywg.dataplane.sys.linux cimport pthread_create, pthread_join, pthread_t


cdef struct Call:
    Dataplane *dp
    Peer *peer


cdef void *another_thread(void *arg) noexcept nogil:
    cdef Call *call = <Call *>arg
    staged_take(call.dp, call.peer)
    return NULL


def inside_the_gate(bint broken) -> None:
    cdef Call call = with_one_peer()
    if not broken:
        gate_enter(&call.dp.send_gate)
    staged_take(call.dp, call.peer)
    gate_leave(&call.dp.send_gate)
    end(&call)


def inside_the_gate_of_another(bint broken) -> None:
    """The gate is held, and not by the thread that calls."""
    cdef Call call = with_one_peer()
    cdef pthread_t thread
    gate_enter(&call.dp.send_gate)
    if broken:
        pthread_create(&thread, NULL, another_thread, &call)
        pthread_join(thread, NULL)
    else:
        another_thread(&call)
    gate_leave(&call.dp.send_gate)
    end(&call)


def inside_both_gates(bint broken) -> None:
    cdef Call call = with_one_peer()
    if broken:
        gate_enter(&call.dp.send_gate)
    else:
        gates_enter(call.dp)
    handshake_close(call.dp, call.peer)
    gates_leave(call.dp)
    end(&call)


def room_of_a_buffer(bint broken) -> None:
    cdef Reorder reorder
    reorder_init(&reorder, 2, -1, NULL, NULL, NULL)
    reorder_submit(&reorder)
    reorder_submit(&reorder)
    if broken:
        reorder_submit(&reorder)


cdef Call with_one_peer():
    cdef Call call
    call.dp = dataplane_new(NULL)       # nothing is sealed
    call.peer = peer_new(0)
    if call.dp == NULL or call.peer == NULL:
        raise MemoryError
    return call


cdef void end(Call *call):
    gates_enter(call.dp)
    peer_free(call.dp, call.peer)
    gates_leave(call.dp)
    dataplane_free(call.dp)
