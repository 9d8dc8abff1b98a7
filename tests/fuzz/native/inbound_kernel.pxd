"""The kernel's side of what is received (inbound_kernel.pyx)."""
from pywg.dataplane.sys.linux cimport iovec, mmsghdr

cdef int receive(void *driver, int fd, mmsghdr *messages, unsigned int count) noexcept nogil
cdef int send(void *driver, int fd, mmsghdr *messages, unsigned int count) noexcept nogil
cdef ssize_t tun_write(void *driver, const iovec *iov, int count) noexcept nogil
