"""Frames in the TUN (outbound_frames.pyx)."""
from libc.stdint cimport uint32_t, uint8_t

from pywg.dataplane.wire.virtio cimport VnetHdr

from tests.fuzz.native.outbound_state cimport Harness, Planned

cdef uint32_t marked_frame(Harness *b, VnetHdr *hdr, uint8_t *packet, bint offloads) noexcept nogil
cdef uint32_t planned_frame(Harness *b, const Planned *planned, VnetHdr *hdr, uint8_t *packet) noexcept nogil
cdef uint32_t wild_frame(Harness *b, uint8_t *frame, uint32_t vnet_len) noexcept nogil
