"""Datagrams of senders (inbound_datagrams.pyx)."""
from libc.stdint cimport uint32_t, uint8_t

from pywg.dataplane.wire.endpoint cimport Endpoint

from tests.fuzz.native.inbound_state cimport Harness

cdef uint32_t transport(Harness *b, uint8_t *data, uint32_t *stride) noexcept nogil
cdef uint32_t damaged(Harness *b, uint8_t *data, uint32_t len, uint32_t *stride) noexcept nogil
cdef uint32_t handshakes(Harness *b, uint8_t *data, const Endpoint *source, uint32_t *stride) noexcept nogil
