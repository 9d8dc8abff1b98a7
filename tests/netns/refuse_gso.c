/* Preloaded into a daemon: segmented sends fail with the errno in REFUSE_GSO, as drivers and kernels have made them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { SOL_UDP_ = 17, UDP_SEGMENT_ = 103 };

static int is_segmented(struct msghdr *message)
{
    for (struct cmsghdr *one = CMSG_FIRSTHDR(message); one; one = CMSG_NXTHDR(message, one))
        if (one->cmsg_level == SOL_UDP_ && one->cmsg_type == UDP_SEGMENT_)
            return 1;
    return 0;
}

/* As the kernel does: what comes before a message that fails is sent, and the error is for the next call. */
int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
    static int (*next)(int, struct mmsghdr *, unsigned int, int);
    unsigned int fine = 0;

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "sendmmsg");
    while (fine < count && !is_segmented(&messages[fine].msg_hdr))
        fine++;
    if (fine || !count)
        return next(fd, messages, fine, flags);
    errno = atoi(getenv("REFUSE_GSO"));
    return -1;
}
