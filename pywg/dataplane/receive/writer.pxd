"""The writer: merges packets to superframes, and writes these to the TUN.

One thread at a time uses a writer: that which delivers, or the holder of its lane (reorder).
"""
from libc.stdint cimport uint8_t, uint64_t
from pywg.dataplane.receive.coalesce cimport COALESCE_MAX_IOV, Coalescer, coalesce_add
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.sys.linux cimport iovec
from pywg.dataplane.wire.ecn cimport ecn_decapsulate
from pywg.dataplane.wire.ip cimport IpView

cdef enum:
    COALESCE_PACKETS = 1024


cdef struct Writer:
    Dataplane *dp
    Coalescer *coalescer            # for dp.vnet_hdr_len
    iovec iov[COALESCE_MAX_IOV]

cdef int writer_init(Writer *w, Dataplane *dp) noexcept nogil
cdef void writer_free(Writer *w) noexcept nogil
cdef void writer_begin(Writer *w, uint64_t now) noexcept nogil
cdef void writer_flush(Writer *w) noexcept nogil


cdef inline void writer_add(Writer *w, IpView *ip, uint8_t outer_tos) noexcept nogil:
    """Takes a packet, whose bytes stay in place until the flush. The IP header's own length cuts off the padding."""
    ecn_decapsulate(ip, outer_tos)
    ip.len = ip.total_len
    if coalesce_add(w.coalescer, ip, w.dp.coalesce) != 0:
        writer_flush(w)
        coalesce_add(w.coalescer, ip, w.dp.coalesce)
