"""What the drivers are made of: the kernel that they play (kernel.h), traffic (traffic.h), and what became of it."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg.dataplane.sys.linux cimport iovec, mmsghdr, pollfd, sockaddr

cdef extern from "kernel.h" nogil:
    enum:
        KERNEL_TUN
        KERNEL_UDP4
        KERNEL_UDP6
        KERNEL_ICMP4
        KERNEL_ICMP6
    struct Kernel "kernel":
        void *driver
        ssize_t (*tun_read)(void *driver, uint8_t *to, size_t room) noexcept nogil
        ssize_t (*tun_write)(void *driver, const iovec *iov, int count) noexcept nogil
        ssize_t (*send_icmp)(void *driver, int fd, const void *message, size_t len,
                             const sockaddr *to) noexcept nogil
        int (*send)(void *driver, int fd, mmsghdr *messages, unsigned int count) noexcept nogil
        int (*receive)(void *driver, int fd, mmsghdr *messages, unsigned int count) noexcept nogil
        int (*wait)(void *driver, pollfd *fds, unsigned long count) noexcept nogil
        int kick
        uint64_t now_ns
    Kernel kernel

cdef extern from "traffic.h" nogil:
    struct Chance "chance":
        pass
    enum:
        TRAFFIC_TCP
        TRAFFIC_UDP
        TRAFFIC_RAW
    void chance_begin(Chance *c, const uint8_t *data, size_t len)
    bint chance_is_over(const Chance *c)
    uint64_t chance_next(Chance *c)
    uint32_t chance_below(Chance *c, uint32_t below)
    bint chance_one_in(Chance *c, uint32_t n)
    void chance_bytes(Chance *c, uint8_t *to, size_t len)
    uint32_t chance_len(Chance *c, uint32_t shortest, uint32_t longest, uint32_t mtu)
    uint32_t chance_short_len(Chance *c, uint32_t mtu)
    uint32_t ip_header_len(int version)
    uint32_t l4_header_len(int protocol)
    void put16(uint8_t *at, uint32_t value)
    uint32_t get16(const uint8_t *at)
    uint32_t sum16(const uint8_t *at, uint32_t len, uint32_t sum)
    void peer_address(uint8_t *at, int version, uint32_t peer, uint32_t host)
    void number_address(uint8_t *at, int version, uint32_t number)
    void make_packet(uint8_t *at, int version, int protocol, uint32_t len, uint32_t number, uint32_t seq)
    void finish_packet(uint8_t *at, int version, int protocol, uint32_t len)
    uint32_t marked_len(const uint8_t *text, uint32_t text_len, int where, bint checked, uint32_t *number)
    bint is_in_place(const uint8_t *text, uint32_t len, uint32_t number, uint32_t seq)
    enum:
        TUNNEL_GENEVE
        TUNNEL_CHECKED
        TUNNEL_INSIDE6
        TUNNEL
        TUNNEL_PORT
    int tunnel_inside(int kind)
    uint32_t tunnel_front(int version, int kind)
    void make_tunnel(uint8_t *at, int version, int kind, uint32_t len)
    void finish_tunnel(uint8_t *at, int version, int kind, uint32_t len)
    bint is_tunnelled(const uint8_t *text, uint32_t text_len)
    uint32_t tunnelled_len(const uint8_t *text, uint32_t text_len, uint32_t *number, uint32_t *inner)

cdef extern from "superframe.h" nogil:
    struct Superframe "superframe":
        uint32_t pieces
        bint tunnel
    const char *superframe_read(Superframe *s, const uint8_t *vnet, uint32_t vnet_len, const uint8_t *packet,
                                uint32_t len)
    uint32_t superframe_piece(const Superframe *s, uint32_t i, uint8_t *to)
    bint packet_is(const Superframe *s, uint8_t *piece, uint32_t len, const uint8_t *expected, uint32_t expected_len)
    bint may_be_one_flow(const uint8_t *a, uint32_t a_len, const uint8_t *b, uint32_t b_len)
    bint same_flow(const uint8_t *a, uint32_t a_len, const uint8_t *b, uint32_t b_len)
    void decapsulated(uint8_t *packet, uint8_t outer)
