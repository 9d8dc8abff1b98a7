"""The writer (writer.pxd)."""
from libc.stdint cimport uint64_t
from pywg.dataplane.receive.coalesce cimport COALESCE_MAX_IOV, COALESCE_TUNNELS, coalesce_apart, coalesce_count
from pywg.dataplane.receive.coalesce cimport coalesce_frame, coalesce_free, coalesce_is_tunnel, coalesce_member
from pywg.dataplane.receive.coalesce cimport coalesce_new, coalesce_reset
from pywg.dataplane.state.counters cimport count
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.tunnel_ends cimport tunnel_ends_copy
from pywg.dataplane.sys cimport linux
from pywg.dataplane.sys.atomic cimport load8, load_int, store8
from pywg.dataplane.sys.linux cimport EINTR, EINVAL, writev


cdef int writer_init(Writer *w, Dataplane *dp) noexcept nogil:
    """0, or -1: no memory. `w` is all zeros, and to be freed in either case. It merges nothing until it is renewed."""
    w.dp = dp
    w.coalescer = coalesce_new(COALESCE_PACKETS, 0)
    return 0 if w.coalescer != NULL else -1


cdef void writer_free(Writer *w) noexcept nogil:
    if w.coalescer != NULL:
        coalesce_free(w.coalescer)
    w.coalescer = NULL


cdef void writer_begin(Writer *w, uint64_t now) noexcept nogil:
    """Before the packets of a batch: which tunnels' ends are known."""
    if w.dp.coalesce & COALESCE_TUNNELS:
        tunnel_ends_copy(&w.dp.shared.tunnel_ends, &w.coalescer.tunnels, now)
        w.coalescer.tunnels.any = w.coalescer.tunnels.any and not load8(&w.dp.tunnels_refused)


cdef bint written(Writer *w, int tun, int n) noexcept nogil:
    """Writes the first `n` pieces of `iov` as a frame. False: the TUN refuses it, as errno says."""
    cdef ssize_t done = writev(tun, w.iov, n)
    while done < 0 and linux.errno == EINTR:
        done = writev(tun, w.iov, n)
    return done >= 0


cdef void write_frame(Writer *w, int tun, int n) noexcept nogil:
    cdef Dataplane *dp = w.dp
    count(&dp.counters.rx_tun_writes if written(w, tun, n) else &dp.counters.rx_tun_error)


cdef void write_apart(Writer *w, int tun, int i) noexcept nogil:
    """Writes the packets of a tunnel's superframe that the TUN has refused. From now on none is made."""
    cdef int member = coalesce_apart(w.coalescer, i)
    store8(&w.dp.tunnels_refused, 1)
    w.coalescer.tunnels.any = False
    write_frame(w, tun, coalesce_frame(w.coalescer, i, w.iov, COALESCE_MAX_IOV))
    while member >= 0:
        member = coalesce_member(w.coalescer, i, member, w.iov)
        write_frame(w, tun, 2)


cdef void writer_flush(Writer *w) noexcept nogil:
    """Writes the coalescer's frames to the TUN. A frame that the TUN refuses is counted; the others go on."""
    cdef Dataplane *dp = w.dp
    cdef int i, n, tun = load_int(&dp.tun_fd), frames = coalesce_count(w.coalescer)
    for i in range(frames):
        n = coalesce_frame(w.coalescer, i, w.iov, COALESCE_MAX_IOV)
        if n <= 0 or tun < 0:
            count(&dp.counters.rx_tun_error)
        elif written(w, tun, n):
            count(&dp.counters.rx_tun_writes)
        elif linux.errno == EINVAL and coalesce_is_tunnel(w.coalescer, i):
            write_apart(w, tun, i)
        else:
            count(&dp.counters.rx_tun_error)
    coalesce_reset(w.coalescer)
