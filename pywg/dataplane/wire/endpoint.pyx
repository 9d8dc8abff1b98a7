"""Conversion of endpoints between Python and the threads (endpoint.pxd)."""
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset
from pywg.dataplane.sys.linux cimport htons, ntohs


cdef tuple from_endpoint(const Endpoint *endpoint):
    return (
        PyBytes_FromStringAndSize(<const char *>endpoint.ip, endpoint.ip_len), ntohs(endpoint.port), endpoint.scope_id,
        PyBytes_FromStringAndSize(<const char *>endpoint.local_ip, endpoint.local_len), endpoint.local_ifindex,
    )


cdef int to_endpoint(tuple addr, Endpoint *endpoint) except -1:
    """Raises ValueError for an address of another length."""
    cdef bytes ip = addr[0]
    cdef bytes local_ip = addr[3]
    memset(endpoint, 0, sizeof(Endpoint))
    if len(ip) not in (4, 16) or len(local_ip) not in (0, len(ip)):
        raise ValueError("an endpoint's addresses are 4 or 16 bytes, both of one family")
    endpoint.ip_len = <uint8_t>len(ip)
    endpoint.local_len = <uint8_t>len(local_ip)
    endpoint.port = htons(addr[1])
    endpoint.scope_id = addr[2]
    endpoint.local_ifindex = addr[4]
    memcpy(endpoint.ip, PyBytes_AsString(ip), len(ip))
    memcpy(endpoint.local_ip, PyBytes_AsString(local_ip), len(local_ip))
    return 0
