/* System calls that a driver answers (kernel.h); on any other descriptor they are what they always are. */
#include "kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct kernel kernel;

static long answer(long result)
{
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

static int is_udp(int fd)
{
    return fd == KERNEL_UDP4 || fd == KERNEL_UDP6;
}

/* For the tests of the targets: as if the data plane had damaged what it sends, or what it has received. */
static void damage(struct mmsghdr *messages, int count)
{
    static int wanted = -1;
    if (wanted < 0)
        wanted = getenv("PYWG_FUZZ_DAMAGE") != NULL;
    if (wanted && count > 0 && messages[0].msg_hdr.msg_iov->iov_len)
        ((uint8_t *)messages[0].msg_hdr.msg_iov->iov_base)[0] ^= 0x40;
}

ssize_t read(int fd, void *to, size_t room)
{
    if (fd == KERNEL_TUN)
        return answer(kernel.tun_read(kernel.driver, to, room));
    return syscall(SYS_read, fd, to, room);
}

ssize_t write(int fd, const void *from, size_t len)
{
    const struct iovec iov = {(void *)from, len};
    if (fd == KERNEL_TUN)
        return answer(kernel.tun_write(kernel.driver, &iov, 1));
    return syscall(SYS_write, fd, from, len);
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
    if (fd == KERNEL_TUN)
        return answer(kernel.tun_write(kernel.driver, iov, count));
    return syscall(SYS_writev, fd, iov, count);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
    if (is_udp(fd)) {
        damage(messages, (int)count);
        return (int)answer(kernel.send(kernel.driver, fd, messages, count));
    }
    return (int)syscall(SYS_sendmmsg, fd, messages, count, flags);
}

ssize_t sendto(int fd, const void *message, size_t len, int flags, const struct sockaddr *to, socklen_t to_len)
{
    if (fd == KERNEL_ICMP4 || fd == KERNEL_ICMP6)
        return answer(kernel.send_icmp(kernel.driver, fd, message, len, to));
    return syscall(SYS_sendto, fd, message, len, flags, to, to_len);
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout)
{
    if (is_udp(fd)) {
        const int received = (int)answer(kernel.receive(kernel.driver, fd, messages, count));
        damage(messages, received);
        return received;
    }
    return (int)syscall(SYS_recvmmsg, fd, messages, count, flags, timeout);
}

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    nfds_t i;
    for (i = 0; i < count && kernel.wait; i++)
        if (fds[i].fd == KERNEL_TUN || is_udp(fds[i].fd) || (kernel.kick && fds[i].fd == kernel.kick))
            return (int)answer(kernel.wait(kernel.driver, fds, count));
    return (int)syscall(SYS_poll, fds, count, timeout_ms);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (clock == CLOCK_BOOTTIME && kernel.now_ns) {
        now->tv_sec = (time_t)(kernel.now_ns / 1000000000);
        now->tv_nsec = (long)(kernel.now_ns % 1000000000);
        return 0;
    }
    return (int)syscall(SYS_clock_gettime, clock, now);
}
