"""What is due of the datagrams that the thread receives, and whether it came (inbound_model.pyx)."""
from libc.stdint cimport uint32_t, uint8_t

from pywg.dataplane.wire.endpoint cimport Endpoint

from tests.fuzz.native.inbound_state cimport Harness

cdef void judge_message(Harness *b, const uint8_t *data, uint32_t len, uint32_t stride, uint8_t tos, bint truncated,
                        const Endpoint *source) noexcept nogil
cdef void arrive(Harness *b, const uint8_t *vnet, uint32_t vnet_len, const uint8_t *packet,
                 uint32_t len) noexcept nogil
cdef void check(Harness *b) noexcept nogil
