/* Preloaded into a daemon: a superframe in a UDP tunnel is refused by the TUN, as a kernel may that knows none. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/uio.h>

enum { TUNNEL_HEADER_LEN = 24, GSO_UDP_TUNNEL = 0x60 };

ssize_t writev(int fd, const struct iovec *iov, int count)
{
    static ssize_t (*next)(int, const struct iovec *, int);

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "writev");
    if (count > 2 && iov->iov_len == TUNNEL_HEADER_LEN && ((const unsigned char *)iov->iov_base)[1] & GSO_UDP_TUNNEL) {
        errno = EINVAL;
        return -1;
    }
    return next(fd, iov, count);
}
