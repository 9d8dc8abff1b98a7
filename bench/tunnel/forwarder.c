/* Carries what a TUN has over UDP to another TUN, with neither a protocol nor a cipher: what the kernel's path allows.

   forwarder [--cut | --seal] ADDRESS PEER PORT INTERFACE

   The path is a tunnel's: a TUN with the virtio header and all offloads, UDP_SEGMENT, UDP_GRO, a thread for each
   direction that sleeps in poll() and takes what is there. A superframe is neither cut nor merged nor looked at: it goes
   as one message, which the kernel cuts into datagrams of WireGuard's length, and comes as one. So the link between the
   two must keep messages whole, as a veth does. Peer and port are never verified, which no real tunnel could do.

   --cut does what no WireGuard can leave out: each packet travels in a datagram of its own, with its headers and 32 bytes
   more. So a superframe is copied and summed on its way out, makes more bytes than one message holds, is summed on its
   way in, and is written from as many pieces as it has packets. The headers' numbers are not made, which is less
   than a WireGuard has to do.

   --seal encrypts these packets as well, by pywg's own kernels: a WireGuard that has no peers, handshakes, counters,
   replay window and allowed IPs, and no flows to find. Its key is zero, and the nonce a packet's place in its
   superframe: this hides nothing. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "chacha20poly1305/chapoly.h"

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#define UDP_GRO 104
#endif

enum {
    VNET_HDR_LEN = 10,
    FRONT_LEN = 16,             /* of a transport message */
    TAG_LEN = 16,
    OUTER_LEN = 80,             /* of a way's MTU, which wg-quick leaves to IPv6, UDP and WireGuard */
    DATAGRAMS = 44,             /* of one message at most, as with pywg */
    PIECES = 2 * DATAGRAMS,     /* of one superframe */
    MESSAGE_LEN = 65536,
    ROOM_LEN = 2 * MESSAGE_LEN, /* for a superframe that was cut */
    MESSAGES = 8,               /* of a receive, and reads between two sends */
    BUFFER_LEN = 7 << 20
};

static int tun, udp, cuts, level; /* of the cipher; CHAPOLY_NONE: it is left out */
static const uint8_t key[32];
/* Of the tunnel's MTU; with what WireGuard adds; and whole datagrams of one message. */
static size_t packet_len, datagram_len, message_len;
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

/* In front of each packet that was cut out of a superframe. */
struct front {
    uint8_t vnet[VNET_HDR_LEN];
    uint16_t len, sum; /* of the packet; of its payload */
    uint8_t index, count;
};
_Static_assert(sizeof(struct front) == FRONT_LEN, "as long as a transport message's header");

/* The sum of n bytes as the Internet checksum has it, with a copy of them to `to` unless it is NULL. */
static uint16_t sum(uint8_t *to, const uint8_t *from, size_t n)
{
    uint64_t total = 0;
    uint32_t word, last = 0;
    size_t i = 0;
    if (to)
        memcpy(to, from, n);
    for (; i + sizeof word <= n; i += sizeof word) {
        memcpy(&word, from + i, sizeof word);
        total += word;
    }
    memcpy(&last, from + i, n - i);
    total += last;
    while (total >> 16)
        total = (total & 0xffff) + (total >> 16);
    return (uint16_t)total;
}

/* A superframe of n bytes, cut into datagrams of datagram_len bytes each but the last: their bytes, 0: it can't be. */
static size_t cut(uint8_t *out, const uint8_t *frame, size_t n)
{
    struct virtio_net_hdr vnet;
    const uint8_t *packet = frame + VNET_HDR_LEN;
    size_t len = n - VNET_HDR_LEN, headers = 0, step = len, done = 0, count;
    uint8_t *texts[PIECES];
    uint32_t lens[PIECES];
    memcpy(&vnet, frame, sizeof vnet);
    if (vnet.gso_type != VIRTIO_NET_HDR_GSO_NONE) {
        const int datagrams = vnet.gso_type == VIRTIO_NET_HDR_GSO_UDP_L4;
        if (vnet.csum_start + 20u > len)
            return 0;
        headers = vnet.csum_start + (datagrams ? 8u : 4u * (packet[vnet.csum_start + 12] >> 4));
        step = vnet.gso_size;
        vnet.hdr_len = (uint16_t)headers; /* the kernel's may be more or less */
    }
    if (headers >= len || step == 0 || headers + step > packet_len || (len - headers - 1) / step >= PIECES)
        return 0;
    count = (len - headers - 1) / step + 1;
    if (count * datagram_len > 2 * message_len)
        return 0;
    for (size_t i = 0; i < count; i++, done += step) {
        const size_t left = len - headers - done, payload = left < step ? left : step;
        uint8_t *here = out + i * datagram_len;
        struct front front = {.len = (uint16_t)(headers + payload), .index = (uint8_t)i, .count = (uint8_t)count};
        memcpy(front.vnet, &vnet, VNET_HDR_LEN);
        memcpy(here + FRONT_LEN, packet, headers);
        front.sum = sum(here + FRONT_LEN + headers, packet + headers + done, payload);
        memcpy(here, &front, sizeof front);
        texts[i] = here + FRONT_LEN;
        lens[i] = front.len;
    }
    if (level != CHAPOLY_NONE)
        chapoly_seal(level, key, 0, texts, lens, (int)count);
    return (count - 1) * datagram_len + FRONT_LEN + lens[count - 1] + TAG_LEN;
}

static void send_all(struct mmsghdr *batch, int count)
{
    for (int sent = 0; sent < count;) {
        int n = sendmmsg(udp, batch + sent, (unsigned int)(count - sent), MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd full = {.fd = udp, .events = POLLOUT};
            poll(&full, 1, -1);
        } else
            sent += n < 0 ? 1 : n; /* what is refused is lost, as on a wire */
    }
}

static void *carry_out(void *unused)
{
    static uint8_t room[MESSAGES][MESSAGE_LEN], datagrams[MESSAGES][ROOM_LEN];
    static struct mmsghdr batch[2 * MESSAGES];
    static struct iovec parts[2 * MESSAGES];
    for (;;) {
        size_t bytes = 0;
        int frames = 0, count = 0;
        while (frames < MESSAGES && bytes < MESSAGE_LEN) {
            ssize_t n = read(tun, room[frames], MESSAGE_LEN);
            uint8_t *from = room[frames];
            size_t len = (size_t)n;
            if (n <= VNET_HDR_LEN)
                break;
            if (cuts) {
                from = datagrams[frames];
                len = cut(from, room[frames], (size_t)n);
            }
            for (size_t done = 0; done < len; count++) {
                const size_t left = len - done, most = cuts ? message_len : len;
                parts[count] = (struct iovec){from + done, left < most ? left : most};
                batch[count].msg_hdr = (struct msghdr){
                    .msg_name = &peer, .msg_namelen = sizeof peer, .msg_iov = &parts[count], .msg_iovlen = 1};
                done += parts[count].iov_len;
            }
            bytes += (size_t)n;
            frames++;
        }
        if (frames == 0)
            await(tun);
        send_all(batch, count);
    }
    return unused;
}

static void put(const struct iovec *pieces, int count)
{
    if (writev(tun, pieces, count) < 0 && errno == EBADFD)
        die("tun");
}

/* The superframe that is being put together: its first piece is the virtio header. */
static struct iovec pieces[1 + PIECES];
static uint16_t have, whole;

/* Decrypts the datagrams of one message where they are. Bit i: the i-th is whole, and authentic. */
static uint64_t open_all(uint8_t *message, size_t n)
{
    uint8_t *texts[DATAGRAMS];
    uint32_t lens[DATAGRAMS];
    uint64_t counters[DATAGRAMS];
    int count = 0;
    for (size_t at = 0; count < DATAGRAMS && at + FRONT_LEN + TAG_LEN < n; at += datagram_len, count++) {
        struct front front;
        memcpy(&front, message + at, sizeof front);
        if (front.len > n - at - FRONT_LEN - TAG_LEN)
            break;
        texts[count] = message + at + FRONT_LEN;
        lens[count] = front.len;
        counters[count] = front.index;
    }
    return level == CHAPOLY_NONE ? (1ull << count) - 1 : chapoly_open(level, key, counters, texts, lens, count);
}

/* Takes the datagrams of one message; the bytes must stay until the superframe is written, or given up. */
static void gather(uint8_t *message, size_t n)
{
    uint64_t authentic = open_all(message, n);
    for (size_t at = 0; at + FRONT_LEN + TAG_LEN < n; at += datagram_len, authentic >>= 1) {
        uint8_t *packet = message + at + FRONT_LEN;
        struct front front;
        struct virtio_net_hdr vnet;
        size_t headers;
        memcpy(&front, message + at, sizeof front);
        if (!(authentic & 1) || front.count > PIECES || front.index >= front.count
            || front.index != (front.index ? have : 0) || (front.index && front.count != whole)) {
            have = whole = 0;
            continue;
        }
        memcpy(&vnet, front.vnet, sizeof vnet);
        headers = front.count > 1 ? vnet.hdr_len : 0;
        if (headers >= front.len || front.sum != sum(NULL, packet + headers, front.len - headers)) {
            have = whole = 0;
            continue;
        }
        if (front.index == 0) {
            pieces[0] = (struct iovec){message + at, VNET_HDR_LEN};
            pieces[1] = (struct iovec){packet, front.len};
            whole = front.count;
            have = 1;
        } else
            pieces[1 + have++] = (struct iovec){packet + headers, front.len - headers};
        if (have == whole) {
            put(pieces, 1 + whole);
            have = whole = 0;
        }
    }
}

static void carry_in(void)
{
    static uint8_t room[MESSAGES + 1][MESSAGE_LEN];
    static struct iovec parts[MESSAGES];
    static struct mmsghdr batch[MESSAGES];
    uint8_t *spare = room[MESSAGES];
    for (int i = 0; i < MESSAGES; i++) {
        parts[i] = (struct iovec){room[i], MESSAGE_LEN};
        batch[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    for (;;) {
        int n;
        await(udp);
        n = recvmmsg(udp, batch, MESSAGES, MSG_DONTWAIT, NULL);
        for (int i = 0; i < n; i++) {
            struct iovec one = {parts[i].iov_base, batch[i].msg_len};
            if (cuts)
                gather(one.iov_base, one.iov_len);
            else if (one.iov_len > VNET_HDR_LEN)
                put(&one, 1);
        }
        if (n > 0 && have) { /* the rest is still to come: the next message goes elsewhere */
            uint8_t *held = parts[n - 1].iov_base;
            if ((uint8_t *)pieces[0].iov_base < held || (uint8_t *)pieces[0].iov_base >= held + MESSAGE_LEN)
                have = whole = 0; /* more than two messages: none was cut so */
            else {
                parts[n - 1].iov_base = spare;
                spare = held;
            }
        }
    }
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

/* Sets the lengths by what wg-quick would make the interface's MTU. */
static void look_at_way(void)
{
    int probe = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), mtu = 0;
    socklen_t len = sizeof mtu;
    size_t fit;
    if (probe < 0 || connect(probe, (struct sockaddr *)&peer, sizeof peer) < 0
        || getsockopt(probe, IPPROTO_IP, IP_MTU, &mtu, &len) < 0)
        die("the way's MTU");
    close(probe);
    packet_len = (size_t)mtu - OUTER_LEN;
    datagram_len = FRONT_LEN + packet_len + TAG_LEN;
    fit = MESSAGE_LEN / datagram_len;
    message_len = (fit < DATAGRAMS ? fit : DATAGRAMS) * datagram_len;
}

static void open_udp(struct sockaddr_in here)
{
    int on = 1, segment = (int)datagram_len, buffer = BUFFER_LEN;
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
    int seals;
    seals = argc > 1 && strcmp(argv[1], "--seal") == 0;
    cuts = seals || (argc > 1 && strcmp(argv[1], "--cut") == 0);
    argc -= cuts, argv += cuts;
    if (seals && (level = chapoly_best()) == CHAPOLY_NONE) {
        fputs("forwarder: pywg has no kernel of the cipher for this processor\n", stderr);
        return 1;
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return puts(seals  ? "forwarder: packets and a cipher, no protocol"
                    : cuts ? "forwarder: no cipher, but packets"
                           : "forwarder: neither protocol nor cipher") < 0;
    peer.sin_family = AF_INET;
    if (argc != 5 || inet_pton(AF_INET, argv[1], &here.sin_addr) != 1 || inet_pton(AF_INET, argv[2], &peer.sin_addr) != 1) {
        fputs("forwarder [--cut | --seal] ADDRESS PEER PORT INTERFACE\n", stderr);
        return 2;
    }
    here.sin_port = peer.sin_port = htons((uint16_t)atoi(argv[3]));
    look_at_way();
    open_udp(here);
    open_tun(argv[4]);
    if (pthread_create(&out, NULL, carry_out, NULL) != 0)
        die("pthread_create");
    carry_in();
    return 0;
}
