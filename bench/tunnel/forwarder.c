/* Carries what a TUN has over UDP to another TUN, with neither a protocol nor a cipher: what the kernel's path allows.

   forwarder ADDRESS PEER PORT INTERFACE

   The path is a tunnel's: a TUN with the virtio header and all offloads, UDP_SEGMENT, UDP_GRO, a thread for each
   direction that sleeps in poll() and takes what is there. A superframe is neither cut nor merged nor looked at: it goes
   as one message, which the kernel cuts into datagrams of WireGuard's length, and comes as one. So the link between the
   two must keep messages whole, as a veth does. Peer and port are never verified, which no real tunnel could do. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#define UDP_GRO 104
#endif

enum {
    VNET_HDR_LEN = 10,
    DATAGRAM_LEN = 1420 + 32,   /* a full packet of the tunnel's MTU, with what WireGuard adds */
    MESSAGE_LEN = 65536,
    MESSAGES = 8,               /* of a receive, and reads between two sends */
    BUFFER_LEN = 7 << 20
};

static int tun, udp;
static struct sockaddr_in peer;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void await(int fd)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    if (poll(&one, 1, -1) < 0 && errno != EINTR)
        die("poll");
}

static void *carry_out(void *unused)
{
    static uint8_t room[MESSAGES][MESSAGE_LEN];
    struct mmsghdr batch[MESSAGES];
    struct iovec parts[MESSAGES];
    memset(batch, 0, sizeof batch);
    for (;;) {
        size_t bytes = 0;
        int count = 0, sent = 0;
        while (count < MESSAGES && bytes < MESSAGE_LEN) {
            ssize_t n = read(tun, room[count], MESSAGE_LEN);
            if (n <= 0)
                break;
            parts[count] = (struct iovec){room[count], (size_t)n};
            batch[count].msg_hdr = (struct msghdr){
                .msg_name = &peer, .msg_namelen = sizeof peer, .msg_iov = &parts[count], .msg_iovlen = 1};
            bytes += (size_t)n;
            count++;
        }
        if (count == 0)
            await(tun);
        while (sent < count) {
            int n = sendmmsg(udp, batch + sent, (unsigned int)(count - sent), MSG_DONTWAIT);
            if (n < 0 && errno == EAGAIN) {
                struct pollfd full = {.fd = udp, .events = POLLOUT};
                poll(&full, 1, -1);
            } else
                sent += n < 0 ? 1 : n; /* what is refused is lost, as on a wire */
        }
    }
    return unused;
}

static void *carry_in(void *unused)
{
    static uint8_t room[MESSAGES][MESSAGE_LEN];
    static struct iovec parts[MESSAGES];
    static struct mmsghdr batch[MESSAGES];
    for (int i = 0; i < MESSAGES; i++) {
        parts[i] = (struct iovec){room[i], MESSAGE_LEN};
        batch[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    for (;;) {
        int n;
        await(udp);
        n = recvmmsg(udp, batch, MESSAGES, MSG_DONTWAIT, NULL);
        for (int i = 0; i < n; i++)
            if (batch[i].msg_len > VNET_HDR_LEN && write(tun, room[i], batch[i].msg_len) < 0 && errno == EBADFD)
                die("tun");
    }
    return unused;
}

static void open_tun(const char *name)
{
    struct ifreq wanted = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    int length = VNET_HDR_LEN;
    unsigned int tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6, all = tcp | TUN_F_USO4 | TUN_F_USO6;
    strncpy(wanted.ifr_name, name, IFNAMSIZ - 1);
    tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tun < 0 || ioctl(tun, TUNSETIFF, &wanted) < 0 || ioctl(tun, TUNSETVNETHDRSZ, &length) < 0)
        die(name);
    if (ioctl(tun, TUNSETOFFLOAD, all) < 0 && ioctl(tun, TUNSETOFFLOAD, tcp) < 0)
        die("TUNSETOFFLOAD");
}

static void open_udp(struct sockaddr_in here)
{
    int on = 1, segment = DATAGRAM_LEN, buffer = BUFFER_LEN;
    udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (udp < 0 || bind(udp, (struct sockaddr *)&here, sizeof here) < 0)
        die("bind");
    if (setsockopt(udp, SOL_UDP, UDP_SEGMENT, &segment, sizeof segment) < 0
        || setsockopt(udp, SOL_UDP, UDP_GRO, &on, sizeof on) < 0)
        die("UDP_SEGMENT, UDP_GRO");
    setsockopt(udp, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
    setsockopt(udp, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
}

int main(int argc, char **argv)
{
    struct sockaddr_in here = {.sin_family = AF_INET};
    pthread_t out;
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return puts("forwarder: neither protocol nor cipher") < 0;
    peer.sin_family = AF_INET;
    if (argc != 5 || inet_pton(AF_INET, argv[1], &here.sin_addr) != 1 || inet_pton(AF_INET, argv[2], &peer.sin_addr) != 1) {
        fputs("forwarder ADDRESS PEER PORT INTERFACE\n", stderr);
        return 2;
    }
    here.sin_port = peer.sin_port = htons((uint16_t)atoi(argv[3]));
    open_udp(here);
    open_tun(argv[4]);
    if (pthread_create(&out, NULL, carry_out, NULL) != 0)
        die("pthread_create");
    carry_in(NULL);
    return 0;
}
