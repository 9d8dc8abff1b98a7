/* The kernel as the drivers play it: system calls on three descriptors, and the clock, are a driver's own functions.
 *
 * kernel.c is loaded before everything else, so that the data plane's calls come here, as it was built and shipped.
 */
#ifndef PYWG_FUZZ_KERNEL_H
#define PYWG_FUZZ_KERNEL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* No real descriptor is as large. */
enum { KERNEL_TUN = 0x3f000000, KERNEL_UDP4, KERNEL_UDP6, KERNEL_ICMP4, KERNEL_ICMP6 };

/* Each answers as its system call does, but with -errno. */
struct kernel {
    void *driver;
    ssize_t (*tun_read)(void *driver, uint8_t *to, size_t room);
    ssize_t (*tun_write)(void *driver, const struct iovec *iov, int count);
    ssize_t (*send_icmp)(void *driver, int fd, const void *message, size_t len, const struct sockaddr *to);
    int (*send)(void *driver, int fd, struct mmsghdr *messages, unsigned int count);
    int (*receive)(void *driver, int fd, struct mmsghdr *messages, unsigned int count);
    int (*wait)(void *driver, struct pollfd *fds, unsigned long count);
    int kick; /* a descriptor that `wait` hears of also alone; 0: none */
    uint64_t now_ns; /* what CLOCK_BOOTTIME says; 0: the time */
};

extern struct kernel kernel;

#endif
