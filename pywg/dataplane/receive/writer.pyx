"""The writer (writer.pxd)."""
from pywg.dataplane.receive.coalesce cimport COALESCE_MAX_IOV, coalesce_count, coalesce_frame, coalesce_free
from pywg.dataplane.receive.coalesce cimport coalesce_new, coalesce_reset
from pywg.dataplane.state.counters cimport count
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.sys cimport linux
from pywg.dataplane.sys.atomic cimport load_int
from pywg.dataplane.sys.linux cimport EINTR, writev


cdef int writer_init(Writer *w, Dataplane *dp) noexcept nogil:
    """0, or -1: no memory. `w` is all zeros, and to be freed in either case. It merges nothing until it is renewed."""
    w.dp = dp
    w.coalescer = coalesce_new(COALESCE_PACKETS, 0)
    return 0 if w.coalescer != NULL else -1


cdef void writer_free(Writer *w) noexcept nogil:
    if w.coalescer != NULL:
        coalesce_free(w.coalescer)
    w.coalescer = NULL


cdef void writer_flush(Writer *w) noexcept nogil:
    """Writes the coalescer's frames to the TUN. A frame that the TUN refuses is counted; the others go on."""
    cdef Dataplane *dp = w.dp
    cdef int i, n, tun = load_int(&dp.tun_fd), frames = coalesce_count(w.coalescer)
    cdef ssize_t written
    for i in range(frames):
        n = coalesce_frame(w.coalescer, i, w.iov, COALESCE_MAX_IOV)
        if n <= 0 or tun < 0:
            count(&dp.counters.rx_tun_error)
            continue
        written = writev(tun, w.iov, n)
        while written < 0 and linux.errno == EINTR:
            written = writev(tun, w.iov, n)
        count(&dp.counters.rx_tun_writes if written >= 0 else &dp.counters.rx_tun_error)
    coalesce_reset(w.coalescer)
