/* A program whose system calls fail as told, while it runs: seccomp(2) with a listener.

   inject CONTROL NUMBER[,NUMBER...] COMMAND...

   COMMAND runs in this process. The kernel asks a second process about each system call of these numbers, by any thread
   of COMMAND and of what it starts: from libc, from inside libc, or from a program that has no libc, as those in Go.
   CONTROL is a file of `struct control`, which the test maps too. It holds the rules, which may change at any time, and
   the numbers of calls seen, matched and failed. A call that no rule fails goes on as if there were no filter.

   tests/faults/injector.py has the same layout. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, uint64_t)
#endif

enum { RULES = 16, ARGUMENTS = 2, CALLS = 512, NAME_LEN = 16, NUMBERS_MAX = 128 };

/* What a descriptor is. */
enum { ANY = 0, TUN = 1, UDP = 2, NETLINK = 3, UNIX = 4, EVENT = 5, EPOLL = 6, TIMER = 7, OTHER = 8, PARCEL = 9 };

struct argument {
    uint32_t at, mask;      /* mask 0: any */
    uint64_t value;
};

struct rule {
    uint32_t active;        /* the test's: it writes the rest before */
    int32_t number;
    int32_t code;           /* the errno; 0: the call does nothing, and returns 0 */
    uint32_t every;         /* 1: each call that matches, n: one in n */
    uint64_t skip;          /* so many first ones that match go on */
    uint64_t most;          /* so many fail, and no more; 0: no limit */
    uint32_t kind;          /* of the descriptor in the first argument */
    char thread[NAME_LEN];  /* how the name of the thread begins */
    struct argument arguments[ARGUMENTS];
    uint64_t matched, failed;
};

struct control {
    uint32_t pid;           /* of COMMAND */
    int32_t listener;       /* its number, once there is a filter */
    uint32_t attending;
    uint32_t spared;        /* a process of which no call fails or matches; 0: none */
    struct rule rules[RULES];
    uint64_t calls[CALLS];  /* by number */
};

static struct control *control;

static void die(const char *what)
{
    perror(what);
    exit(125);
}

/* ---- the second process */

static int group_of(int tid)
{
    char path[64], line[128];
    int group = -1;
    snprintf(path, sizeof path, "/proc/%d/status", tid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -1;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "Tgid: %d", &group) == 1)
            break;
    fclose(file);
    return group;
}

static uint32_t kind_of_socket(int tid, int fd)
{
    int pidfd = (int)syscall(SYS_pidfd_open, group_of(tid), 0), copy, domain = 0;
    socklen_t length = sizeof domain;
    if (pidfd < 0)
        return OTHER;
    copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
    close(pidfd);
    if (copy < 0)
        return OTHER;
    getsockopt(copy, SOL_SOCKET, SO_DOMAIN, &domain, &length);
    close(copy);
    return domain == AF_NETLINK ? NETLINK : domain == AF_UNIX ? UNIX : domain ? UDP : OTHER;
}

static uint32_t kind_of(int tid, int fd)
{
    char path[64], target[128];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", tid, fd);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0)
        return OTHER;
    target[length] = 0;
    if (strcmp(target, "/dev/net/tun") == 0)
        return TUN;
    if (strncmp(target, "socket:", 7) == 0)
        return kind_of_socket(tid, fd);
    if (strcmp(target, "anon_inode:[eventfd]") == 0)
        return EVENT;
    if (strcmp(target, "anon_inode:[eventpoll]") == 0)
        return EPOLL;
    if (strcmp(target, "anon_inode:[timerfd]") == 0)
        return TIMER;
    if (strcmp(target, "/memfd:pywg (deleted)") == 0)
        return PARCEL;
    return OTHER;
}

static int is_thread(int tid, const char *begins)
{
    char path[64], name[NAME_LEN + 1] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t length = read(fd, name, NAME_LEN);
    close(fd);
    return length > 0 && strncmp(name, begins, strnlen(begins, NAME_LEN)) == 0;
}

static int holds(const struct rule *rule, const struct seccomp_notif *call)
{
    if (!__atomic_load_n(&rule->active, __ATOMIC_ACQUIRE) || rule->number != call->data.nr)
        return 0;
    for (int i = 0; i < ARGUMENTS; i++)
        if ((call->data.args[rule->arguments[i].at] ^ rule->arguments[i].value) & rule->arguments[i].mask)
            return 0;
    if (rule->thread[0] != 0 && !is_thread((int)call->pid, rule->thread))
        return 0;
    if (control->spared != 0 && group_of((int)call->pid) == (int)control->spared)
        return 0;
    return rule->kind == ANY || rule->kind == kind_of((int)call->pid, (int)call->data.args[0]);
}

/* Whether the call fails, with `code`. Counts. */
static int fails(const struct seccomp_notif *call, int *code)
{
    uint64_t matched;
    if (call->data.nr >= 0 && call->data.nr < CALLS)
        __atomic_add_fetch(&control->calls[call->data.nr], 1, __ATOMIC_RELAXED);
    for (int i = 0; i < RULES; i++) {
        struct rule *rule = &control->rules[i];
        if (!holds(rule, call))
            continue;
        matched = __atomic_add_fetch(&rule->matched, 1, __ATOMIC_RELAXED);
        if (matched <= rule->skip || (matched - rule->skip) % rule->every != 0)
            continue;
        if (rule->most != 0 && rule->failed >= rule->most)
            continue;
        __atomic_add_fetch(&rule->failed, 1, __ATOMIC_RELAXED);
        *code = rule->code;
        return 1;
    }
    return 0;
}

static void attend(int listener)
{
    struct pollfd waited = {.fd = listener, .events = POLLIN};
    struct seccomp_notif call;
    struct seccomp_notif_resp answer;
    int code;
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1);     /* SYNC_WAKE_UP; not before Linux 6.6 */
    for (;;) {
        if (poll(&waited, 1, -1) < 0 && errno != EINTR)
            return;
        if ((waited.revents & POLLIN) == 0) {
            if (waited.revents & (POLLHUP | POLLERR))
                return;     /* all that ran under the filter has ended */
            continue;
        }
        memset(&call, 0, sizeof call);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0)
            continue;
        memset(&answer, 0, sizeof answer);
        answer.id = call.id;
        code = 0;
        if (fails(&call, &code))
            answer.error = -code;
        else
            answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);     /* fails where the thread was killed meanwhile */
    }
}

static void supervise(void)
{
    int listener;
    setsid();
    while ((listener = __atomic_load_n(&control->listener, __ATOMIC_ACQUIRE)) == 0)
        sched_yield();
    if (unshare(CLONE_FILES) != 0)      /* descriptors of its own from here on: it keeps none of COMMAND's open */
        die("unshare");
    close_range(0, (unsigned)listener - 1, 0);
    close_range((unsigned)listener + 1, ~0U, 0);
    __atomic_store_n(&control->attending, 1, __ATOMIC_RELEASE);
    attend(listener);
    _exit(0);
}

/* ---- the first process, which becomes COMMAND */

static int install(const int *numbers, int count)
{
    struct sock_filter code[NUMBERS_MAX + 5];
    int at = 0;
    code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < count; i++)
        code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)numbers[i],
                                                  (unsigned char)(count - i), 0);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    struct sock_fprog program = {.len = (unsigned short)at, .filter = code};
    unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
    if (fd < 0)
        fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    return (int)fd;
}

int main(int argc, char **argv)
{
    int numbers[NUMBERS_MAX], count = 0, file, listener;
    pid_t child;
    if (argc < 4)
        return fprintf(stderr, "inject CONTROL NUMBERS COMMAND...\n"), 125;
    for (char *number = strtok(argv[2], ","); number != NULL && count < NUMBERS_MAX; number = strtok(NULL, ","))
        numbers[count++] = atoi(number);
    if ((file = open(argv[1], O_RDWR | O_CLOEXEC)) < 0)
        die(argv[1]);
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (control == MAP_FAILED)
        die("mmap");
    close(file);
    control->listener = 0;
    control->attending = 0;
    /* It shares the descriptors, so that it sees the listener's. It is nobody's child: COMMAND has none it doesn't know. */
    child = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0);
    if (child == 0) {
        if (syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0) == 0)
            supervise();
        _exit(0);
    }
    if (child < 0)
        die("clone");
    waitpid(child, NULL, 0);
    control->pid = (uint32_t)getpid();
    if ((listener = install(numbers, count)) <= 2) {
        __atomic_store_n(&control->listener, -1, __ATOMIC_RELEASE);
        die("seccomp");
    }
    __atomic_store_n(&control->listener, listener, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&control->attending, __ATOMIC_ACQUIRE))
        ;       /* by no system call: it might be one that is asked about */
    execvp(argv[3], argv + 3);
    die(argv[3]);
}
