"""The outer address of a peer. Python has it as (ip, port, scope id, local ip or b"", local ifindex or 0), packed."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp


cdef struct Endpoint:
    # The outer address of a peer, and the local address and interface that it wrote to (the sticky source).
    uint8_t ip_len              # 0 none, 4, 16
    uint8_t local_len           # 0 unknown, else as ip_len
    uint16_t port               # network byte order
    uint32_t scope_id
    uint32_t local_ifindex
    uint8_t ip[16]
    uint8_t local_ip[16]

cdef tuple from_endpoint(const Endpoint *endpoint)
cdef int to_endpoint(tuple addr, Endpoint *endpoint) except -1


cdef inline bint same_endpoint(const Endpoint *a, const Endpoint *b) noexcept nogil:
    """Both must have been zeroed before they were filled, so that unused address bytes compare equal."""
    return memcmp(a, b, sizeof(Endpoint)) == 0
