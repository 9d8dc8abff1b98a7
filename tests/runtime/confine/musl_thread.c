/* A thread of the data plane with musl, under its filter: calls what that kind of thread calls of libc, and ends.
 *
 * musl_thread KIND [planted]: 1 sender, 2 receiver, 3 helper, as seccomp.Thread has them. The filter's program comes on
 * standard input; a call that it refuses ends the process. What is planted is such a call.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { SENDER = 1, RECEIVER = 2, HELPER = 3, MESSAGES = 3, LARGE = 1 << 20 };

static struct sock_filter code[4096];
static struct sock_fprog program = {0, code};
static int kind, planted, event, udp, tun[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t change = PTHREAD_COND_INITIALIZER;
static int waits, told;

static void need(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        _exit(1);
    }
}

static void allocate(void)
{
    void *memory[64];
    size_t i;
    for (i = 0; i < 64; i++)
        need((memory[i] = malloc(i % 8 ? i * 512 : LARGE)) != NULL, "malloc");
    for (i = 0; i < 64; i++)
        free(memory[i]);
    need(posix_memalign(memory, 4096, LARGE) == 0, "posix_memalign");
    free(memory[0]);
    free(calloc(16, 4096));
}

static void wait_for_main(void)
{
    pthread_mutex_lock(&lock);
    waits = 1;
    pthread_cond_broadcast(&change);
    while (!told)
        pthread_cond_wait(&change, &lock);
    pthread_mutex_unlock(&lock);
}

static void transfer(int receives)
{
    struct mmsghdr messages[MESSAGES];
    struct iovec iov = {"datagram", 8};
    char room[MESSAGES][8];
    int i;
    memset(messages, 0, sizeof messages);
    for (i = 0; i < MESSAGES; i++) {
        messages[i].msg_hdr.msg_iov = &iov;
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    need(sendmmsg(udp, messages, MESSAGES, MSG_DONTWAIT) == MESSAGES, "sendmmsg");
    if (!receives)
        return;
    iov.iov_base = room;
    need(recvmmsg(udp, messages, MESSAGES, MSG_DONTWAIT, NULL) == MESSAGES, "recvmmsg");
}

static void *thread(void *unused)
{
    struct iovec iov[2] = {{"two ", 4}, {"parts", 5}};
    struct pollfd fds = {event, POLLIN, 0};
    struct timespec now;
    struct timeval then;
    char byte[16];
    uint64_t count;

    (void)unused;
    need(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0, "seccomp");
    need(eventfd_write(event, 1) == 0, "eventfd_write");
    need(writev(tun[1], iov, 2) == 9, "writev");
    transfer(kind == RECEIVER);
    allocate();
    wait_for_main();
    clock_gettime(CLOCK_BOOTTIME, &now);
    if (kind != HELPER) {
        need(poll(&fds, 1, -1) == 1, "poll");
        need(eventfd_read(event, &count) == 0, "eventfd_read");
        need(read(tun[0], byte, sizeof byte) == 9, "read");
        need(sendto(udp, byte, 1, MSG_DONTWAIT, NULL, 0) == 1, "sendto");
        usleep(1);
    }
    if (kind == RECEIVER) {
        need(getrandom(byte, sizeof byte, 0) == sizeof byte, "getrandom");
        gettimeofday(&then, NULL);
        time(NULL);
        getpid();
    }
    if (planted)
        open("/dev/null", O_RDONLY);
    return NULL;
}

int main(int count, char **arguments)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof own;
    pthread_t id;
    size_t read_;

    kind = atoi(arguments[1]);
    planted = count > 2;
    read_ = fread(code, 1, sizeof code, stdin);
    program.len = (unsigned short)(read_ / sizeof code[0]);
    need((event = eventfd(0, 0)) >= 0 && pipe(tun) == 0, "pipe");
    need((udp = socket(AF_INET, SOCK_DGRAM, 0)) >= 0, "socket");
    need(bind(udp, (struct sockaddr *)&own, length) == 0, "bind");
    need(getsockname(udp, (struct sockaddr *)&own, &length) == 0, "getsockname");
    need(connect(udp, (struct sockaddr *)&own, length) == 0, "connect");
    need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
    need(pthread_create(&id, NULL, thread, NULL) == 0, "pthread_create");
    pthread_mutex_lock(&lock);
    while (!waits)
        pthread_cond_wait(&change, &lock);
    told = 1;
    pthread_cond_broadcast(&change);
    pthread_mutex_unlock(&lock);
    need(pthread_join(id, NULL) == 0, "pthread_join");
    return puts("ended") < 0;
}
