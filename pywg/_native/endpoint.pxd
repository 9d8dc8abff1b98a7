"""Endpoints as Python has them: (ip, port, scope id, local ip or b"", local ifindex or 0), addresses packed."""
from pywg._native.session cimport Endpoint

cdef tuple from_endpoint(const Endpoint *endpoint)
cdef int to_endpoint(tuple addr, Endpoint *endpoint) except -1
