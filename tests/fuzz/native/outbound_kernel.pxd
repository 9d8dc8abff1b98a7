"""The kernel's side of what is sent, and the peers (outbound_kernel.pyx)."""
from libc.stdint cimport uint8_t

from pywg.dataplane.sys.linux cimport iovec, mmsghdr, sockaddr

cdef ssize_t tun_read(void *driver, uint8_t *to, size_t room) noexcept nogil
cdef ssize_t tun_write(void *driver, const iovec *iov, int count) noexcept nogil
cdef ssize_t send_icmp(void *driver, int fd, const void *message, size_t len, const sockaddr *to) noexcept nogil
cdef int send(void *driver, int fd, mmsghdr *messages, unsigned int count) noexcept nogil
