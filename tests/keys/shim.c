/* Preloaded into a daemon whose memory is searched for secrets. By environment variables:
 *
 *   KEYS_TELL=fd         each 32 random bytes that libcrypto gives, the data plane's cookie secrets, go to this pipe
 *   KEYS_CLOCK=path      CLOCK_BOOTTIME is ahead by the nanoseconds in this file, from one moment to the next
 *   KEYS_NOT_WIPED=1     OPENSSL_cleanse wipes nothing, and keeps what it is given, as memory is soon used again
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { SECRET_LEN = 32, COOKIE_SECRET = 'C', KEPT_A_CALL = 256 << 10, THREADS = 8 };

static volatile int64_t *ahead_ns;
static int64_t seen_ns;
static unsigned char kept[16 << 20];
static atomic_size_t kept_len;
static int told_to = -1, not_wiped;
static int timer_fd = -1;           /* the daemon has one */
static struct itimerspec timer;     /* as the daemon has set it */

__attribute__((constructor)) static void begin(void)
{
    const char *tell = getenv("KEYS_TELL"), *clock = getenv("KEYS_CLOCK");
    int fd;

    not_wiped = getenv("KEYS_NOT_WIPED") != NULL;
    if (tell)
        told_to = atoi(tell);
    if (clock && (fd = open(clock, O_RDONLY | O_CLOEXEC)) >= 0) {
        ahead_ns = mmap(NULL, sizeof *ahead_ns, PROT_READ, MAP_SHARED, fd, 0);
        close(fd);
    }
}

void OPENSSL_cleanse(void *at, size_t len)
{
    if (!not_wiped)
        memset(at, 0, len);
    else if (len <= KEPT_A_CALL && kept_len + THREADS * KEPT_A_CALL <= sizeof kept)
        memcpy(kept + atomic_fetch_add(&kept_len, len), at, len);
    __asm__ __volatile__("" : : "r"(at) : "memory");
}

int RAND_bytes(unsigned char *at, int len)
{
    unsigned char head[2] = {COOKIE_SECRET, SECRET_LEN};
    const struct iovec parts[2] = {{head, sizeof head}, {at, SECRET_LEN}};

    if (getrandom(at, (size_t)len, 0) != len)
        return 0;
    if (len == SECRET_LEN && told_to >= 0 && writev(told_to, parts, 2) < 0)
        return 0;
    return 1;
}

static int set_timer(void)
{
    struct itimerspec shifted = timer;

    if (shifted.it_value.tv_sec || shifted.it_value.tv_nsec) {
        int64_t at = (int64_t)timer.it_value.tv_sec * 1000000000 + timer.it_value.tv_nsec - seen_ns;
        at = at > 0 ? at : 1;
        shifted.it_value.tv_sec = at / 1000000000;
        shifted.it_value.tv_nsec = at % 1000000000;
    }
    return (int)syscall(SYS_timerfd_settime, timer_fd, TFD_TIMER_ABSTIME, &shifted, NULL);
}

int timerfd_settime(int fd, int flags, const struct itimerspec *wanted, struct itimerspec *before)
{
    if (!ahead_ns || !(flags & TFD_TIMER_ABSTIME))
        return (int)syscall(SYS_timerfd_settime, fd, flags, wanted, before);
    timer_fd = fd;
    timer = *wanted;
    return set_timer();
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*next)(clockid_t, struct timespec *);
    int64_t ahead;

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "clock_gettime");
    if (next(clock, now))
        return -1;
    if (clock != CLOCK_BOOTTIME || !ahead_ns)
        return 0;
    ahead = *ahead_ns;
    now->tv_sec += ahead / 1000000000; /* whole seconds alone are ever added */
    if (ahead != seen_ns) {
        seen_ns = ahead;
        if (timer_fd >= 0)
            set_timer();
    }
    return 0;
}
