# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""The inbound path under a driver: UDP messages in, TUN frames and handshake messages out, while sessions come and go.

A case is one data plane from its making to its end, by one seed, with `receive_thread` as it is shipped. The driver is
the kernel (kernel.h), the control plane while that thread waits, and its helper. Each datagram is opened by libcrypto
before the thread has it, and judged by the rules of the paper: what is authentic, new and allowed has to arrive at the
TUN, unchanged but for its ECN field, once, in the order of its flow, and nothing else; each datagram that is refused is
in one counter, the right one. The driver ends the process at what is wrong.
"""
from libc.errno cimport EAGAIN, ECONNREFUSED, EINTR, EINVAL, EIO, ENOMEM
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport fprintf, stderr
from libc.stdlib cimport abort, calloc, free, malloc
from libc.string cimport memcmp, memcpy, memmove, memset

from pywg.dataplane.crypto.aead cimport AeadBackend
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts, aead_contexts_free, aead_contexts_init
from pywg.dataplane.crypto.aead_select cimport aead_choose
from pywg.dataplane.crypto.blake2s cimport BLAKE2S_STATE_LEN, blake2s_key, blake2s_mac
from pywg.dataplane.crypto.cookie_mac cimport COOKIE_LEN, macs_identify, macs_init, make_cookie
from pywg.dataplane.crypto.evp cimport evp_open, evp_seal
from pywg.dataplane.crypto.xchacha20poly1305 cimport XNONCE_LEN, xchacha_open, xchacha_seal
from pywg.dataplane.receive.admit cimport note_sent
from pywg.dataplane.receive.deliver cimport delivery_renew
from pywg.dataplane.receive.open cimport DATAGRAMS_MAX
from pywg.dataplane.receive.receive cimport ReceivePath, receive_path_free, receive_path_hold, receive_path_new
from pywg.dataplane.receive.receive cimport receive_path_release
from pywg.dataplane.reorder.pool cimport pool_free, pool_new
from pywg.dataplane.reorder.reorder cimport SLOTS_MAX, reorder_is_empty, reorder_work
from pywg.dataplane.state.allowedips cimport allowedips_insert
from pywg.dataplane.state.counters cimport Counters, count as due
from pywg.dataplane.state.dataplane cimport Dataplane, dataplane_free, dataplane_new, gates_enter, gates_leave
from pywg.dataplane.state.events cimport Message, events_drop_message, events_next_message, events_rearm, events_take
from pywg.dataplane.state.peer cimport Keypair, Peer
from pywg.dataplane.state.peers cimport handshake_open, keypair_new, keypair_publish, keypair_retire, peer_free
from pywg.dataplane.state.peers cimport peer_new
from pywg.dataplane.state.replay cimport REPLAY_WINDOW
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.sys.libcrypto cimport EVP_CIPHER_CTX, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_CipherInit_ex
from pywg.dataplane.sys.libcrypto cimport EVP_chacha20_poly1305
from pywg.dataplane.sys.linux cimport AF_INET, AF_INET6, CMSG_DATA, CMSG_LEN, CMSG_SPACE, IPPROTO_IP, IPPROTO_IPV6
from pywg.dataplane.sys.linux cimport IPV6_PKTINFO, IPV6_TCLASS, IP_PKTINFO, IP_TOS, MSG_TRUNC, POLLIN, SOL_UDP, UDP_GRO
from pywg.dataplane.sys.linux cimport cmsghdr, in6_pktinfo, in_pktinfo, iovec, mmsghdr, msghdr, pollfd, sockaddr_in
from pywg.dataplane.sys.linux cimport sockaddr_in6
from pywg.dataplane.threads.threads cimport Threads, receive_thread
from pywg.dataplane.udp.receive cimport RECEIVE_BATCH, RECEIVE_LEN
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.limits cimport REJECT_AFTER_MESSAGES
from pywg.dataplane.wire.wireguard cimport COOKIE_REPLY_LEN, INITIATION_LEN, MAC_LEN, RESPONSE_LEN, TAG_LEN
from pywg.dataplane.wire.wireguard cimport TRANSPORT_MIN_LEN, WG_HEADER_LEN, TransportHeader

from tests.fuzz.native.harness cimport (
    KERNEL_TUN, KERNEL_UDP4, KERNEL_UDP6, TRAFFIC_RAW, TRAFFIC_TCP, TRAFFIC_UDP, Chance, Superframe, chance_below,
    chance_bytes, chance_len, chance_next, chance_one_in, decapsulated, finish_packet, get16, ip_header_len, kernel,
    l4_header_len, make_packet, number_address, packet_is, peer_address, put16, same_flow, superframe_piece,
    superframe_read,
)

cdef enum:
    PEERS = 5
    SESSIONS = 64
    FLOWS = 24                  # more than the coalescer keeps open
    ROUNDS = 80                 # of a case, of the thread,
    DATAGRAMS = 6000            # unless it has had so many
    SEEN = 1 << 18
    ASKERS = 1 << 12
    PENDING = 1 << 17
    UDP_MAX = 65527             # with IPv6
    FIRST_INDEX = 0x1000
    HANDSHAKE_INDEX = 0x9000
    MTU = 1420


cdef struct Session:
    uint8_t key[32]
    EVP_CIPHER_CTX *seal
    EVP_CIPHER_CTX *open
    Keypair *keypair            # NULL once it is retired
    uint32_t peer
    uint64_t birth_ns
    bint may_send               # the first datagram confirms it, and nothing has replaced it before that
    uint64_t next_counter       # of the sender
    uint64_t greatest           # the greatest counter accepted, plus one
    uint64_t batch              # the last one that had a message of it,
    uint64_t greatest_before    # and what was accepted before that one


cdef struct Flow:
    int version
    int protocol
    uint32_t number             # its destination
    uint32_t host
    uint32_t seq
    uint16_t id
    uint16_t step
    bint options
    uint8_t tos


cdef struct Seen:
    uint64_t counter
    uint64_t batch
    uint32_t session            # plus one; 0: the place is free


cdef struct Asker:              # a message that a cookie reply may answer
    uint32_t index
    uint8_t mac1[MAC_LEN]


cdef struct Pending:
    uint8_t *packet             # NULL: it has arrived
    uint32_t len


cdef struct Harness:
    Chance chance
    Dataplane *dp
    Threads threads                 # of the receiving thread alone
    ReceivePath *receive_path
    AeadContexts helper
    Peer *peers[PEERS]
    Endpoint endpoints[PEERS]       # where the last packet that was right came from
    uint64_t rx_bytes[PEERS]
    uint32_t handshakes[PEERS]      # index in flight
    uint32_t handshake_count
    Session sessions[SESSIONS]
    uint32_t session_count
    Flow flows[FLOWS]
    uint32_t number                 # of the last packet
    int rounds
    uint64_t batch                  # one receive
    uint64_t datagrams
    uint32_t added                  # datagrams in this batch
    bint filtered                   # replays of earlier batches don't get into this one
    bint failing                    # sockets and TUN
    bint loaded
    bint flood                      # this batch: as many datagrams as go
    bint clean                      # this message: what can be merged and is new
    Counters expected               # what the counters have to be
    uint64_t admitted               # handshake messages that may be told, held back, or answered
    Asker askers[ASKERS]
    Seen *seen
    Pending *pending
    uint32_t pending_first, pending_count
    uint64_t arrived
    uint8_t mac1_state[BLAKE2S_STATE_LEN]
    uint8_t *scratch
    uint8_t *frame
    uint8_t *piece


cdef void need(bint holds, const char *what) noexcept nogil:
    if not holds:
        fprintf(stderr, b"inbound: %s\n", what)
        abort()


cdef void need_equal(uint64_t is_, uint64_t should, const char *what) noexcept nogil:
    if is_ != should:
        fprintf(stderr, b"inbound: %s: %llu, and not %llu\n", what, <unsigned long long>is_,
                <unsigned long long>should)
        abort()


# ---- what becomes of a datagram

cdef bint is_new(Harness *b, uint32_t index, uint64_t counter, uint64_t greatest, uint64_t before) noexcept nogil:
    """Whether the window lets it pass: nothing accepted in batches below `before` is the same, or far ahead."""
    cdef uint32_t at = seen_at(b, index, counter)
    if counter >= REJECT_AFTER_MESSAGES or (counter + 1 <= greatest and greatest - (counter + 1) > REPLAY_WINDOW):
        return False
    return b.seen[at].session == 0 or b.seen[at].batch >= before


cdef uint32_t seen_at(Harness *b, uint32_t index, uint64_t counter) noexcept nogil:
    cdef uint32_t at = <uint32_t>(counter * 40503 + index * 7919)
    at &= SEEN - 1
    while b.seen[at].session != 0 and (b.seen[at].session != index + 1 or b.seen[at].counter != counter):
        at = (at + 1) & (SEEN - 1)
    return at


cdef void accept(Harness *b, uint32_t index, uint64_t counter) noexcept nogil:
    cdef Seen *seen = &b.seen[seen_at(b, index, counter)]
    seen.session = index + 1
    seen.counter = counter
    seen.batch = b.batch
    b.sessions[index].greatest = max(b.sessions[index].greatest, counter + 1)


cdef void judge_message(Harness *b, const uint8_t *data, uint32_t len, uint32_t stride, uint8_t tos, bint truncated,
                        const Endpoint *source) noexcept nogil:
    cdef uint32_t at = 0, one
    if truncated:
        due(&b.expected.rx_truncated)
        return
    if len == 0:
        due(&b.expected.rx_malformed)
        due(&b.expected.rx_datagrams)
    while at < len:
        one = min(stride, len - at)
        due(&b.expected.rx_datagrams)
        judge(b, data + at, one, tos, source)
        b.datagrams += 1
        at += one


cdef void judge(Harness *b, const uint8_t *datagram, uint32_t len, uint8_t tos, const Endpoint *source) noexcept nogil:
    cdef uint32_t kind = 0
    if len >= 4:
        memcpy(&kind, datagram, 4)
    if kind == 4 and len >= TRANSPORT_MIN_LEN:
        judge_transport(b, datagram, len, tos, source)
    elif kind == 3 and len == COOKIE_REPLY_LEN:
        b.admitted += 1
    elif (kind == 1 and len == INITIATION_LEN) or (kind == 2 and len == RESPONSE_LEN):
        judge_handshake(b, datagram, len)
    else:
        due(&b.expected.rx_malformed)


cdef void judge_handshake(Harness *b, const uint8_t *message, uint32_t len) noexcept nogil:
    cdef uint8_t digest[MAC_LEN]
    cdef Asker *asker
    cdef uint32_t i, index
    cdef bint known = len == INITIATION_LEN
    memcpy(&index, message + 8, 4)
    for i in range(PEERS):
        if b.peers[i] != NULL and b.handshakes[i] == index:
            known = True
    if not known:
        due(&b.expected.rx_unknown_index)
        return
    blake2s_mac(b.mac1_state, message, len - 2 * MAC_LEN, digest)
    if memcmp(digest, message + len - 2 * MAC_LEN, MAC_LEN) != 0:
        due(&b.expected.rx_bad_mac1)
    else:
        b.admitted += 1
        memcpy(&index, message + 4, 4)
        asker = &b.askers[index % ASKERS]
        asker.index = index
        memcpy(asker.mac1, digest, MAC_LEN)


cdef void judge_transport(Harness *b, const uint8_t *datagram, uint32_t len, uint8_t tos,
                          const Endpoint *source) noexcept nogil:
    cdef TransportHeader header
    cdef Session *session
    cdef uint32_t index, text_len = len - WG_HEADER_LEN - TAG_LEN
    memcpy(&header, datagram, sizeof(header))
    index = header.receiver_index - FIRST_INDEX
    if index >= b.session_count or b.sessions[index].keypair == NULL:
        due(&b.expected.rx_unknown_index)
        return
    session = &b.sessions[index]
    if kernel.now_ns - session.birth_ns >= 180 * SECOND_NS:
        due(&b.expected.rx_expired)
        return
    if session.batch != b.batch:
        session.batch = b.batch
        session.greatest_before = session.greatest
    if b.filtered and not is_new(b, index, header.counter, session.greatest_before, b.batch):
        due(&b.expected.rx_replayed)
        return
    if b.receive_path.pool != NULL:
        if b.added == DATAGRAMS_MAX:
            due(&b.expected.rx_queue_full)
            return
        b.added += 1
    memcpy(b.scratch, datagram + WG_HEADER_LEN, text_len + TAG_LEN)
    if (not evp_open(session.open, header.counter, b.scratch, text_len)
            or not is_new(b, index, header.counter, session.greatest, ~<uint64_t>0)):
        due(&b.expected.rx_replayed)
        return
    accept(b, index, header.counter)
    b.endpoints[session.peer] = source[0]
    judge_text(b, session.peer, b.scratch, text_len, tos)


cdef void judge_text(Harness *b, uint32_t peer, uint8_t *text, uint32_t text_len, uint8_t tos) noexcept nogil:
    cdef uint32_t len, at
    cdef bint its = False
    if text_len == 0:
        due(&b.expected.rx_keepalives)
        b.rx_bytes[peer] += TRANSPORT_MIN_LEN
        return
    if text[0] >> 4 == 4 and text_len >= 20:
        len = get16(text + 2)
        its = text[12] == 10 and text[13] == peer
    elif text[0] >> 4 == 6 and text_len >= 40:
        len = get16(text + 4) + 40
        its = text[8] == 0xfd and text[8 + 7] == peer
        for at in range(1, 7):
            its = its and text[8 + at] == 0
    else:
        len = 0
    if len < 20 or len > text_len:
        due(&b.expected.rx_not_ip)
    elif not its:
        due(&b.expected.rx_source_not_allowed)
    else:
        b.rx_bytes[peer] += text_len + TRANSPORT_MIN_LEN
        due(&b.expected.rx_packets)
        decapsulated(text, tos)
        expect(b, text, len)


cdef void expect(Harness *b, const uint8_t *packet, uint32_t len) noexcept nogil:
    cdef Pending *pending
    if b.pending_count == PENDING:
        b.pending_count -= b.pending_first
        memmove(b.pending, b.pending + b.pending_first, b.pending_count * sizeof(Pending))
        b.pending_first = 0
    need(b.pending_count < PENDING, b"the driver has no room")
    pending = &b.pending[b.pending_count]
    pending.packet = <uint8_t *>malloc(len)
    need(pending.packet != NULL, b"no memory")
    memcpy(pending.packet, packet, len)
    pending.len = len
    b.pending_count += 1


cdef void forget_packets(Harness *b) noexcept nogil:
    cdef uint32_t i
    for i in range(b.pending_first, b.pending_count):
        free(b.pending[i].packet)
    b.pending_first = b.pending_count = 0


# ---- the TUN

cdef ssize_t tun_write(void *driver, const iovec *iov, int count) noexcept nogil:
    cdef Harness *b = <Harness *>driver
    cdef uint32_t vnet_len = <uint32_t>b.dp.vnet_hdr_len
    cdef size_t len = 0
    cdef int i
    cdef int[4] errors
    need(0 < count <= 65, b"so many pieces")
    need(vnet_len == 0 or iov[0].iov_len == vnet_len, b"a virtio header of another length")
    for i in range(count):
        need(len + iov[i].iov_len <= 65535 + vnet_len, b"a frame that is too long")
        memcpy(b.frame + len, iov[i].iov_base, iov[i].iov_len)
        len += iov[i].iov_len
    if chance_one_in(&b.chance, 50):
        return -EINTR
    arrive(b, b.frame, vnet_len, b.frame + vnet_len, <uint32_t>len - vnet_len)
    if b.failing and chance_one_in(&b.chance, 4):
        errors = [EIO, EINVAL, EAGAIN, ENOMEM]
        due(&b.expected.rx_tun_error)
        return -errors[chance_below(&b.chance, 4)]
    due(&b.expected.rx_tun_writes)
    return <ssize_t>len


cdef void arrive(Harness *b, const uint8_t *vnet, uint32_t vnet_len, const uint8_t *packet,
                 uint32_t len) noexcept nogil:
    cdef Superframe superframe
    cdef const char *wrong = superframe_read(&superframe, vnet, vnet_len, packet, len)
    cdef uint32_t i, one
    need(wrong == NULL, wrong)
    need(superframe.pieces == 1 or b.dp.coalesce & (2 if vnet[1] == 5 else 1), b"merged, and may not be")
    for i in range(superframe.pieces):
        one = superframe_piece(&superframe, i, b.piece)
        take(b, &superframe, one)


cdef void take(Harness *b, const Superframe *superframe, uint32_t len) noexcept nogil:
    """The packet in `piece` is the first of its flow that has not arrived yet."""
    cdef uint32_t i
    cdef Pending *pending
    for i in range(b.pending_first, b.pending_count):
        pending = &b.pending[i]
        if pending.packet == NULL or not same_flow(pending.packet, pending.len, b.piece, len):
            continue
        need(packet_is(superframe, b.piece, len, pending.packet, pending.len), b"a packet is damaged or out of order")
        b.arrived += 1
        free(pending.packet)
        pending.packet = NULL
        while b.pending_first < b.pending_count and b.pending[b.pending_first].packet == NULL:
            b.pending_first += 1
        return
    need(False, b"a packet that nobody may have sent")


# ---- the sockets

cdef int receive(void *driver, int fd, mmsghdr *messages, unsigned int count) noexcept nogil:
    cdef Harness *b = <Harness *>driver
    cdef Chance *c = &b.chance
    cdef unsigned int i, n
    cdef int error
    cdef int[6] errors
    need(0 < count <= RECEIVE_BATCH, b"so many messages")
    if chance_one_in(c, 3 if b.failing else 40):
        errors = [EAGAIN, EINTR, ENOMEM, ECONNREFUSED, EIO, EINVAL]
        error = errors[chance_below(c, 6)]
        if error != EAGAIN and error != EINTR:
            due(&b.expected.rx_receive_error)
        return -error
    n = count if chance_one_in(c, 3) else 1 + chance_below(c, count)
    b.flood = chance_one_in(c, 24)
    if b.flood:
        n = min(count, 2 + chance_below(c, 6))
    b.batch += 1
    b.added = 0
    b.filtered = b.receive_path.pool == NULL or reorder_is_empty(&b.receive_path.reorder)
    due(&b.expected.rx_receives)
    for i in range(n):
        arrive_at_socket(b, fd, &messages[i])
    return <int>n


cdef void arrive_at_socket(Harness *b, int fd, mmsghdr *message) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef msghdr *header = &message.msg_hdr
    cdef uint8_t *data = <uint8_t *>header.msg_iov.iov_base
    cdef uint32_t len, stride = 0, what = chance_below(c, 20)
    cdef uint8_t tos
    cdef Endpoint source
    need(header.msg_iovlen == 1 and header.msg_iov.iov_len == RECEIVE_LEN, b"room of another length")
    need(header.msg_namelen == sizeof(sockaddr_in6) and header.msg_controllen == 128, b"room that was not renewed")
    write_name(b, fd, header, &source)
    if b.flood or what < 15:
        len = transport(b, data, &stride)
        if what == 0 and not b.flood:
            len = damaged(b, data, len, &stride)
    elif what < 18:
        len = handshakes(b, data, &source, &stride)
    else:
        len = chance_len(c, 0, UDP_MAX, MTU)
        chance_bytes(c, data, len)
        if len and chance_one_in(c, 2):
            memset(data, 0, min(len, <uint32_t>4))
            data[0] = <uint8_t>chance_below(c, 6)
        if chance_one_in(c, 2):
            stride = chance_len(c, 1 if chance_one_in(c, 8) else len // 64 + 1, UDP_MAX, 64)
    header.msg_flags = MSG_TRUNC if chance_one_in(c, 100) else 0
    message.msg_len = len
    stride, tos = write_control(b, fd, header, stride, &source)
    judge_message(b, data, len, stride if stride else len, tos, header.msg_flags != 0, &source)


cdef void write_name(Harness *b, int fd, msghdr *header, Endpoint *source) noexcept nogil:
    cdef sockaddr_in *in4 = <sockaddr_in *>header.msg_name
    cdef sockaddr_in6 *in6 = <sockaddr_in6 *>header.msg_name
    memset(source, 0, sizeof(Endpoint))
    source.port = <uint16_t>(chance_below(&b.chance, 3) + 1)
    source.ip_len = 4 if fd == KERNEL_UDP4 else 16
    memset(source.ip, 192, source.ip_len)
    source.ip[source.ip_len - 1] = <uint8_t>chance_below(&b.chance, 20)
    if fd == KERNEL_UDP4:
        header.msg_namelen = sizeof(sockaddr_in)
        memset(in4, 0, sizeof(sockaddr_in))
        in4.sin_family = AF_INET
        in4.sin_port = source.port
        memcpy(&in4.sin_addr, source.ip, 4)
    else:
        source.scope_id = chance_below(&b.chance, 2)
        memset(in6, 0, sizeof(sockaddr_in6))
        in6.sin6_family = AF_INET6
        in6.sin6_port = source.port
        in6.sin6_scope_id = source.scope_id
        memcpy(&in6.sin6_addr, source.ip, 16)


cdef void put_control(msghdr *header, int level, int kind, const void *value, size_t size) noexcept nogil:
    cdef cmsghdr *control = <cmsghdr *>(<uint8_t *>header.msg_control + header.msg_controllen)
    need(header.msg_controllen + CMSG_SPACE(size) <= 128, b"the driver has no room")
    control.cmsg_level = level
    control.cmsg_type = kind
    control.cmsg_len = CMSG_LEN(size)
    memcpy(CMSG_DATA(control), value, size)
    header.msg_controllen += CMSG_SPACE(size)


cdef (uint32_t, uint8_t) write_control(Harness *b, int fd, msghdr *header, uint32_t stride,
                                       Endpoint *source) noexcept nogil:
    """In any order, each with what the kernel puts there, or not at all. The stride (0: one datagram) and the TOS."""
    cdef Chance *c = &b.chance
    cdef in_pktinfo info4
    cdef in6_pktinfo info6
    cdef uint8_t[32] any_bytes
    cdef int tos = <int>chance_below(c, 256) if chance_one_in(c, 3) else 0, gro = <int>stride, i, k
    cdef int first = <int>chance_below(c, 4)
    header.msg_controllen = 0
    chance_bytes(c, any_bytes, 32)
    if gro == 0 and chance_one_in(c, 8):
        gro = -<int>chance_below(c, 3)
        put_control(header, SOL_UDP, UDP_GRO, &gro, sizeof(int))
    for k in range(4):
        i = (k + first) % 4
        if i == 0 and stride:
            put_control(header, SOL_UDP, UDP_GRO, &gro, sizeof(int))
        elif i == 1 and not chance_one_in(c, 4):
            source.local_ifindex = 1 + chance_below(c, 2)
            if fd == KERNEL_UDP4:
                source.local_len = 4
                memset(source.local_ip, 7, 4)
                memset(&info4, 9, sizeof(info4))
                info4.ipi_ifindex = <int>source.local_ifindex
                memcpy(&info4.ipi_spec_dst, source.local_ip, 4)
                put_control(header, IPPROTO_IP, IP_PKTINFO, &info4, sizeof(info4))
            else:
                source.local_len = 16
                memset(source.local_ip, 7, 16)
                info6.ipi6_ifindex = source.local_ifindex
                memcpy(&info6.ipi6_addr, source.local_ip, 16)
                put_control(header, IPPROTO_IPV6, IPV6_PKTINFO, &info6, sizeof(info6))
        elif i == 2 and tos:
            if fd == KERNEL_UDP4:
                put_control(header, IPPROTO_IP, IP_TOS, &tos, 1)
            else:
                put_control(header, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(int))
        elif i == 3 and chance_one_in(c, 8):
            put_control(header, 1, <int>chance_below(c, 100), any_bytes, chance_below(c, 24))
    return stride, <uint8_t>tos


cdef int send(void *driver, int fd, mmsghdr *messages, unsigned int count) noexcept nogil:
    """Cookie replies."""
    cdef Harness *b = <Harness *>driver
    cdef unsigned int i, taken = count
    need(0 < count <= 64, b"so many messages")
    for i in range(count):
        need(messages[i].msg_hdr.msg_iovlen == 1 and messages[i].msg_hdr.msg_iov.iov_len == COOKIE_REPLY_LEN,
             b"an answer of another length")
        need_cookie(b, fd, &messages[i].msg_hdr)
    if chance_one_in(&b.chance, 4):
        if chance_one_in(&b.chance, 2):
            return -EAGAIN if chance_one_in(&b.chance, 2) else -EINVAL
        taken = 1 + chance_below(&b.chance, count)
    due(&b.expected.tx_cookie_replies, taken)
    return <int>taken


cdef void need_cookie(Harness *b, int fd, const msghdr *header) noexcept nogil:
    """For the address that it goes to, and readable to the sender of the message that it answers."""
    cdef const uint8_t *reply = <const uint8_t *>header.msg_iov.iov_base
    cdef Endpoint source
    cdef Asker *asker
    cdef uint32_t index
    cdef uint8_t[COOKIE_LEN] cookie, should
    memcpy(&index, reply + 4, 4)
    need(reply[0] == 3 and reply[1] == 0 and reply[2] == 0 and reply[3] == 0, b"an answer that is no cookie reply")
    asker = &b.askers[index % ASKERS]
    if asker.index != index:        # another one has its place by now
        return
    memset(&source, 0, sizeof(Endpoint))
    source.ip_len = 4 if fd == KERNEL_UDP4 else 16
    if fd == KERNEL_UDP4:
        source.port = (<sockaddr_in *>header.msg_name).sin_port
        memcpy(source.ip, &(<sockaddr_in *>header.msg_name).sin_addr, 4)
    else:
        source.port = (<sockaddr_in6 *>header.msg_name).sin6_port
        memcpy(source.ip, &(<sockaddr_in6 *>header.msg_name).sin6_addr, 16)
    need(xchacha_open(b.dp.macs.cookie_key, reply + 8, reply + 8 + XNONCE_LEN, COOKIE_LEN + TAG_LEN, asker.mac1,
                      MAC_LEN, cookie), b"a cookie that its asker can't read")
    need(make_cookie(&b.dp.macs, &source, kernel.now_ns, should) and memcmp(cookie, should, COOKIE_LEN) == 0,
         b"a cookie of another address")


# ---- datagrams

cdef uint32_t some_session(Harness *b) noexcept nogil:
    """Most often one of the last, and one that can still be used."""
    cdef Chance *c = &b.chance
    cdef uint32_t _try, index = 0
    for _try in range(8):
        index = chance_below(c, b.session_count)
        if b.session_count > 8 and not chance_one_in(c, 3):
            index = b.session_count - 1 - chance_below(c, 8)
        if (b.sessions[index].keypair != NULL and b.sessions[index].next_counter < REJECT_AFTER_MESSAGES
                or chance_one_in(c, 16)):
            break
    return index


cdef uint32_t transport(Harness *b, uint8_t *data, uint32_t *stride) noexcept nogil:
    """A datagram, or some that GRO has merged, of one session or two; the length."""
    cdef Chance *c = &b.chance
    cdef uint32_t[2] sessions
    cdef uint32_t n = 1, i, len = 0, inner_len = chance_len(c, 0, UDP_MAX - 32, MTU), text_len, one
    cdef uint32_t what = chance_below(c, 12), spare
    cdef Flow *flow = &b.flows[chance_below(c, FLOWS)]
    if b.session_count == 0:
        return 0
    b.clean = chance_one_in(c, 3)
    sessions[0] = some_session(b)
    sessions[1] = some_session(b) if chance_one_in(c, 6) else sessions[0]
    if what > 3:
        n = 2 + chance_below(c, 1 << (1 + what // 2 + 2 * b.clean))
    if b.flood or what == 11 and chance_one_in(c, 8):
        n = UDP_MAX
        if b.flood:
            inner_len = chance_below(c, 41) if chance_one_in(c, 4) else 0
    elif n > 1 and not chance_one_in(c, 4):
        inner_len = 28 + chance_below(c, 1392) if chance_one_in(c, 2) else 21 + chance_below(c, 100)
    text_len = inner_len if chance_one_in(c, 4) else (inner_len + 15) & ~<uint32_t>15
    if inner_len and chance_one_in(c, 8):
        text_len = inner_len + chance_below(c, 40)
    text_len = min(text_len, <uint32_t>UDP_MAX - 32)
    for i in range(n):
        if len + text_len + 32 > UDP_MAX:
            n = i
            break
        spare = chance_below(c, text_len + 1) if i + 1 == n and chance_one_in(c, 2) else 0
        if not b.clean and chance_one_in(c, 40):
            flow = &b.flows[chance_below(c, FLOWS)]
        one = datagram(b, data + len, sessions[i & 1], flow, inner_len - min(spare, inner_len), text_len - spare)
        len += one
    if n > 1 or chance_one_in(c, 8):
        stride[0] = text_len + 32
    return len


cdef uint32_t datagram(Harness *b, uint8_t *at, uint32_t index, Flow *flow, uint32_t inner_len,
                       uint32_t text_len) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef Session *session = &b.sessions[index]
    cdef TransportHeader *header = <TransportHeader *>at
    cdef uint64_t counter = session.next_counter
    cdef uint32_t what = chance_below(c, 240) if not b.clean else 240
    if what < 12:
        counter -= 1 + chance_below(c, 12)                          # again, or late
    elif what < 24:
        counter += chance_below(c, 12)                              # leaves a gap
    elif what < 30:
        counter -= REPLAY_WINDOW - 3 + chance_below(c, 6)
    elif what < 36:
        counter += <uint64_t>1 << chance_below(c, 16)
    elif what == 36 and chance_one_in(c, 16):
        counter = REJECT_AFTER_MESSAGES + 2 - chance_below(c, 6)
    if what == 240 or counter - session.next_counter <= 1 << 16:
        session.next_counter = counter + 1
    memset(header, 0, sizeof(TransportHeader))
    header.type = 4
    header.receiver_index = FIRST_INDEX + index
    header.counter = counter
    inner(b, at + WG_HEADER_LEN, session.peer, flow, inner_len, text_len)
    need(evp_seal(session.seal, counter, at + WG_HEADER_LEN, text_len), b"sealing failed")
    return text_len + WG_HEADER_LEN + TAG_LEN


cdef void inner(Harness *b, uint8_t *text, uint32_t peer, Flow *flow, uint32_t len, uint32_t text_len) noexcept nogil:
    """Fills `text`: a packet of the flow, and padding; where that has no room, bytes that are none."""
    cdef Chance *c = &b.chance
    cdef uint32_t ip_len = ip_header_len(flow.version), l4_len = l4_header_len(flow.protocol)
    cdef uint8_t *l4 = text + ip_len
    cdef bint options = flow.options and flow.protocol == TRAFFIC_TCP and len >= ip_len + l4_len + 12
    len = min(len, <uint32_t>65535)
    if len < ip_len + l4_len:
        chance_bytes(c, text, text_len)
        return
    memset(text + len, 0, text_len - len)
    b.number += 1
    make_packet(text, flow.version, flow.protocol, len, b.number, flow.seq)
    peer_address(text + (12 if flow.version == 4 else 8), flow.version,
                 peer if b.clean or not chance_one_in(c, 40) else chance_below(c, PEERS + 1), flow.host)
    number_address(text + (16 if flow.version == 4 else 24), flow.version, flow.number)
    text[1] |= flow.tos << (0 if flow.version == 4 else 4)
    if flow.version == 4:
        put16(text + 4, flow.id)
        text[6] = 0x40 if flow.step == 0 or not b.clean and chance_one_in(c, 200) else 0
        flow.id += flow.step
    if options:
        l4[12] = 0x80
        memset(l4 + 20, 1, 12)
    if flow.protocol == TRAFFIC_TCP:
        if chance_one_in(c, 24) and not b.clean:
            l4[13] |= 8
        if chance_one_in(c, 60) and not b.clean:
            l4[13] = <uint8_t>chance_next(c)
        if chance_one_in(c, 60) and not b.clean:
            l4[8 + chance_below(c, 12)] ^= 1
        flow.seq += len - ip_len - l4_len - (12 if options else 0)
        if chance_one_in(c, 40) and not b.clean:
            flow.seq += chance_below(c, 3)
    finish_packet(text, flow.version, flow.protocol, len)
    if b.clean:
        return
    if chance_one_in(c, 40):
        text[chance_below(c, ip_len + l4_len)] ^= <uint8_t>1 << chance_below(c, 8)
    if flow.protocol == TRAFFIC_UDP and chance_one_in(c, 60):
        put16(l4 + 6, 0)
    if chance_one_in(c, 24):
        odd(b, text, flow.version, text_len)


cdef void odd(Harness *b, uint8_t *text, int version, uint32_t text_len) noexcept nogil:
    """A header that is not what it was."""
    cdef Chance *c = &b.chance
    cdef uint32_t what = chance_below(c, 6)
    if what < 3:
        put16(text + (2 if version == 4 else 4),
              text_len - (0 if version == 4 else 40) + 3 - chance_below(c, 6) if what else chance_below(c, 65536))
    elif what == 3:
        text[0] = <uint8_t>((version << 4 if chance_one_in(c, 2) else 0) | chance_below(c, 256))
    elif what == 4:
        put16(text + 6, chance_below(c, 65536))     # a fragment, or another protocol
    else:
        text[9 if version == 4 else 6] = <uint8_t>chance_below(c, 60)


cdef uint32_t damaged(Harness *b, uint8_t *data, uint32_t len, uint32_t *stride) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef uint32_t what = chance_below(c, 7), _i
    if what < 2 and len:
        for _i in range(1 + chance_below(c, 3)):
            data[chance_below(c, len)] ^= <uint8_t>1 << chance_below(c, 8)
    elif what == 2:
        return chance_below(c, len + 1)
    elif what == 3:
        return min(len, chance_below(c, 34))
    elif what == 4:
        stride[0] = 1 if chance_one_in(c, 2) else 3
        return min(len, <uint32_t>600)
    elif what == 5:
        stride[0] = len + chance_below(c, 3) * 40 + 1
    elif stride[0] > 2:
        stride[0] += 2 - chance_below(c, 5)
    return len


cdef uint32_t handshakes(Harness *b, uint8_t *data, const Endpoint *source, uint32_t *stride) noexcept nogil:
    """One, or some that GRO has merged."""
    cdef Chance *c = &b.chance
    cdef uint32_t n = 1 if not chance_one_in(c, 6) else 1 + chance_below(c, 1 << (1 + chance_below(c, 8))), i, len
    cdef uint32_t kind = 1 + chance_below(c, 3), index, peer
    cdef uint8_t *message
    len = INITIATION_LEN if kind == 1 else RESPONSE_LEN if kind == 2 else COOKIE_REPLY_LEN
    for i in range(n):
        message = data + i * len
        peer = chance_below(c, PEERS)
        chance_bytes(c, message, len)
        memset(message, 0, 4)
        message[0] = <uint8_t>kind
        index = b.handshakes[peer]
        if chance_one_in(c, 4) and b.session_count:
            index = FIRST_INDEX + chance_below(c, b.session_count)
        if kind != 1 and not chance_one_in(c, 6):
            memcpy(message + (8 if kind == 2 else 4), &index, 4)
        if kind != 3:
            write_macs(b, message, len, source)
        elif b.peers[peer] != NULL and not chance_one_in(c, 3):
            # What answers the last message to the peer, if there is one.
            memcpy(message + 4, &b.peers[peer].sent_index, 4)
            xchacha_seal(b.peers[peer].cookie_key, message + 8, message, COOKIE_LEN, b.peers[peer].sent_mac1, MAC_LEN,
                         message + 8 + XNONCE_LEN)
    if n > 1 or chance_one_in(c, 8):
        stride[0] = len
    if chance_one_in(c, 12):
        return n * len - chance_below(c, len)
    return n * len


cdef void write_macs(Harness *b, uint8_t *message, uint32_t len, const Endpoint *source) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef uint8_t cookie[COOKIE_LEN]
    cdef uint8_t state[BLAKE2S_STATE_LEN]
    if chance_one_in(c, 5):
        return
    blake2s_mac(b.mac1_state, message, len - 2 * MAC_LEN, message + len - 2 * MAC_LEN)
    if chance_one_in(c, 3):
        memset(message + len - MAC_LEN, 0, MAC_LEN)
    elif chance_one_in(c, 2) and make_cookie(&b.dp.macs, source, kernel.now_ns, cookie):
        blake2s_key(state, cookie, COOKIE_LEN)
        blake2s_mac(state, message, len - MAC_LEN, message + len - MAC_LEN)


# ---- the control plane

cdef void add_peer(Harness *b, uint32_t i) noexcept nogil:
    cdef Peer *peer = peer_new(i)
    cdef uint8_t address[16]
    need(peer != NULL, b"no memory")
    b.peers[i] = peer
    b.rx_bytes[i] = 0
    memset(&b.endpoints[i], 0, sizeof(Endpoint))
    peer_address(address, 4, i, 0)
    need(allowedips_insert(b.dp.allowed, address, 4, 16, &peer.allowed) == 0, b"no memory")
    peer_address(address, 6, i, 0)
    need(allowedips_insert(b.dp.allowed, address, 16, 64, &peer.allowed) == 0, b"no memory")
    begin_handshake(b, i)


cdef void begin_handshake(Harness *b, uint32_t i) noexcept nogil:
    b.handshake_count += 1
    b.handshakes[i] = HANDSHAKE_INDEX + b.handshake_count
    need(handshake_open(b.dp, b.peers[i], b.handshakes[i]) == 0, b"no memory")
    chance_bytes(&b.chance, b.peers[i].cookie_key, 32)
    chance_bytes(&b.chance, b.scratch, INITIATION_LEN)
    memcpy(b.scratch + 4, &b.handshakes[i], 4)
    note_sent(b.peers[i], b.scratch, INITIATION_LEN)


cdef void remove_peer(Harness *b, uint32_t i) noexcept nogil:
    cdef uint32_t k
    for k in range(b.session_count):
        if b.sessions[k].peer == i:
            b.sessions[k].keypair = NULL
    peer_free(b.dp, b.peers[i])
    b.peers[i] = NULL


cdef void begin_session(Harness *b, uint32_t i, bint confirmed) noexcept nogil:
    cdef Session *session = &b.sessions[b.session_count]
    cdef Keypair *keypair
    cdef Chance *c = &b.chance
    cdef uint32_t k
    if b.session_count == SESSIONS or b.peers[i] == NULL:
        return
    chance_bytes(c, session.key, 32)
    session.seal = EVP_CIPHER_CTX_new()
    session.open = EVP_CIPHER_CTX_new()
    need(session.seal != NULL and session.open != NULL
         and EVP_CipherInit_ex(session.seal, EVP_chacha20_poly1305(), NULL, session.key, NULL, 1)
         and EVP_CipherInit_ex(session.open, EVP_chacha20_poly1305(), NULL, session.key, NULL, 0), b"no context")
    keypair = keypair_new(b.peers[i], session.key, session.key)
    need(keypair != NULL, b"no memory")
    session.keypair = keypair
    session.peer = i
    keypair.local_index = keypair.remote_index = FIRST_INDEX + b.session_count
    keypair.initiator = confirmed
    session.birth_ns = kernel.now_ns
    if chance_one_in(c, 8):
        session.birth_ns -= chance_below(c, 190) * SECOND_NS
    keypair.birth_ns = session.birth_ns
    if chance_one_in(c, 4):
        session.next_counter = chance_next(c) >> chance_below(c, 64)
    if chance_one_in(c, 16):
        session.next_counter = REJECT_AFTER_MESSAGES - chance_below(c, 200)
    for k in range(b.session_count):
        if b.sessions[k].peer == i and b.sessions[k].greatest == 0:
            b.sessions[k].may_send = False
    session.may_send = not confirmed
    need(keypair_publish(b.dp, keypair, confirmed) == 0, b"no memory")
    b.session_count += 1


cdef void end_session(Harness *b) noexcept nogil:
    cdef Session *session
    if b.session_count == 0:
        return
    session = &b.sessions[chance_below(&b.chance, b.session_count)]
    if session.keypair != NULL:
        keypair_retire(b.dp, session.keypair)
        session.keypair = NULL


cdef void renew_flow(Harness *b, Flow *flow) noexcept nogil:
    cdef Chance *c = &b.chance
    flow.version = 4 if chance_one_in(c, 2) else 6
    flow.protocol = TRAFFIC_RAW if chance_one_in(c, 8) else TRAFFIC_TCP if chance_one_in(c, 2) else TRAFFIC_UDP
    flow.number = chance_below(c, FLOWS)
    flow.host = chance_below(c, 3)
    flow.seq = <uint32_t>chance_next(c)
    flow.id = <uint16_t>chance_next(c)
    flow.step = 1 if chance_one_in(c, 2) else 0
    flow.options = chance_one_in(c, 2)
    flow.tos = <uint8_t>chance_below(c, 4)


cdef void choose_offloads(Harness *b) noexcept nogil:
    cdef int[3] lens
    lens = [10, 12, 0]
    b.dp.vnet_hdr_len = lens[chance_below(&b.chance, 3)] if chance_one_in(&b.chance, 2) else 10
    b.dp.coalesce = <uint8_t>chance_below(&b.chance, 4) if chance_one_in(&b.chance, 2) else 3
    need(delivery_renew(&b.receive_path.delivery, b.dp.vnet_hdr_len) == 0, b"no memory")


cdef void hear(Harness *b) noexcept nogil:
    """All that the threads have told."""
    cdef Message *message
    cdef uint32_t events, index
    cdef uint8_t digest[MAC_LEN]
    events_rearm(&b.dp.events)
    while events_take(&b.dp.events, &events, &index) != NULL:
        need(events != 0, b"an event of nothing")
    while True:
        message = events_next_message(&b.dp.events)
        if message == NULL:
            return
        if message.len == COOKIE_REPLY_LEN:
            index = (<TransportHeader *>message.data).receiver_index - HANDSHAKE_INDEX
            need(message.data[0] == 3 and index <= b.handshake_count, b"a cookie reply to nobody")
            events_drop_message(&b.dp.events)
            continue
        need(message.len == INITIATION_LEN or message.len == RESPONSE_LEN, b"a message of that length")
        blake2s_mac(b.mac1_state, message.data, message.len - 2 * MAC_LEN, digest)
        need(memcmp(digest, message.data + message.len - 2 * MAC_LEN, MAC_LEN) == 0, b"a message without MAC1")
        events_drop_message(&b.dp.events)


# ---- what has to hold when all is delivered

cdef void check(Harness *b) noexcept nogil:
    cdef const Counters *is_ = &b.dp.counters
    cdef const Counters *should = &b.expected
    cdef uint64_t told
    cdef Session *session
    cdef uint32_t i
    if b.dp.tun_fd < 0:
        forget_packets(b)
    need(b.pending_first == b.pending_count, b"a packet has not arrived")
    b.pending_first = b.pending_count = 0
    need_equal(is_.rx_datagrams, should.rx_datagrams, b"datagrams")
    need_equal(is_.rx_receives, should.rx_receives, b"receives")
    need_equal(is_.rx_receive_error, should.rx_receive_error, b"receive errors")
    need_equal(is_.rx_wait_error, should.rx_wait_error, b"wait errors")
    need_equal(is_.rx_truncated, should.rx_truncated, b"truncated")
    need_equal(is_.rx_malformed, should.rx_malformed, b"malformed")
    need_equal(is_.rx_bad_mac1, should.rx_bad_mac1, b"bad MAC1")
    need_equal(is_.rx_expired, should.rx_expired, b"expired")
    need_equal(is_.rx_forged + is_.rx_replayed, should.rx_replayed, b"forged or replayed")
    need_equal(is_.rx_source_not_allowed, should.rx_source_not_allowed, b"source not allowed")
    need_equal(is_.rx_not_ip, should.rx_not_ip, b"not IP")
    need_equal(is_.rx_keepalives, should.rx_keepalives, b"keepalives")
    need_equal(is_.rx_packets, should.rx_packets, b"packets")
    need_equal(is_.rx_tun_writes, should.rx_tun_writes, b"TUN writes")
    if b.dp.tun_fd < 0:     # frames that nobody has seen
        b.expected.rx_tun_error = is_.rx_tun_error
    need_equal(is_.rx_tun_error, should.rx_tun_error, b"TUN errors")
    need_equal(is_.tx_cookie_replies, should.tx_cookie_replies, b"cookie replies")
    # The two that messages of the handshake, too, can end in: when, the order in which groups are opened decides.
    need(is_.rx_unknown_index >= should.rx_unknown_index, b"unknown indices")
    need(is_.rx_queue_full >= should.rx_queue_full, b"queue full")
    told = is_.rx_unknown_index + is_.rx_queue_full
    told += is_.rx_handshakes + is_.rx_under_load + is_.rx_source_limited
    told += is_.tx_cookie_replies + is_.rx_bad_cookie_reply
    told -= should.rx_unknown_index + should.rx_queue_full
    need_equal(told, b.admitted, b"handshake messages")
    for i in range(PEERS):
        if b.peers[i] != NULL:
            need_equal(b.peers[i].rx_bytes, b.rx_bytes[i], b"bytes of a peer")
            need(memcmp(&b.peers[i].endpoint, &b.endpoints[i], sizeof(Endpoint)) == 0, b"an endpoint")
    for i in range(b.session_count):
        session = &b.sessions[i]
        if session.keypair == NULL:
            continue
        if b.peers[session.peer].next == session.keypair:
            need(session.greatest == 0, b"a keypair that was confirmed is still the next one")
        if b.peers[session.peer].sending == session.keypair:
            need(session.greatest != 0 and session.may_send, b"sending with a keypair that was not confirmed")
    if b.dp.events.loaded_until_ns == 0:
        need_equal(is_.rx_under_load + is_.rx_source_limited + is_.tx_cookie_replies, 0,
                   b"messages held back without load")


# ---- a case

cdef void settle(Harness *b) noexcept nogil:
    while reorder_work(&b.receive_path.reorder, &b.helper):
        pass


cdef int wait(void *driver, pollfd *fds, unsigned long count) noexcept nogil:
    """The thread is outside its gate: what the control plane does, it does now."""
    cdef Harness *b = <Harness *>driver
    cdef Chance *c = &b.chance
    cdef int n = 0
    cdef unsigned long i
    need(count == 4 and fds[0].fd == b.dp.receive_kick, b"waiting for something else")
    if b.receive_path.pool != NULL and not chance_one_in(c, 3):
        settle(b)
    if b.rounds == 0 or b.datagrams >= DATAGRAMS:
        b.dp.stop = True
        return 0
    b.rounds -= 1
    if chance_one_in(c, 3):
        operate(b)
    kernel.now_ns += chance_next(c) >> (36 + chance_below(c, 28))
    if chance_one_in(c, 200):
        if chance_one_in(c, 2):
            return -EINTR
        due(&b.expected.rx_wait_error)
        return -ENOMEM
    if b.loaded:
        b.dp.events.loaded_until_ns = kernel.now_ns + SECOND_NS
    for i in range(4):
        fds[i].revents = POLLIN if fds[i].fd >= 0 and not chance_one_in(c, 3) else 0
        n += fds[i].revents != 0
    return n


cdef void operate(Harness *b) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef uint32_t what = chance_below(c, 16), i = chance_below(c, PEERS)
    settle(b)
    gates_enter(b.dp)
    receive_path_hold(b.receive_path)
    check(b)
    if what < 3:
        begin_session(b, i, chance_one_in(c, 2))
    elif what == 3:
        end_session(b)
    elif what == 4:
        if b.peers[i] == NULL:
            add_peer(b, i)
            begin_session(b, i, True)
        else:
            remove_peer(b, i)
    elif what < 7 and b.peers[i] != NULL:
        begin_handshake(b, i)
    elif what == 7:
        kernel.now_ns += chance_next(c) >> (26 + chance_below(c, 30))
    elif what == 8:
        choose_offloads(b)
    elif what == 9:
        b.failing = not b.failing and chance_one_in(c, 2)
    elif what == 10:
        hear(b)
    elif what == 11:
        b.loaded = not b.loaded
    elif what == 12:
        b.dp.fd4 = KERNEL_UDP4 if b.dp.fd4 < 0 or not chance_one_in(c, 4) else -1
        b.dp.fd6 = KERNEL_UDP6 if b.dp.fd6 < 0 or not chance_one_in(c, 4) else -1
        b.dp.tun_fd = KERNEL_TUN if b.dp.tun_fd < 0 or not chance_one_in(c, 6) else -1
    elif what > 12:
        renew_flow(b, &b.flows[chance_below(c, FLOWS)])
    receive_path_release(b.receive_path)
    gates_leave(b.dp)


cdef int set_up(Harness *b, uint64_t seed, const AeadBackend *aead) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef uint8_t[32] mac1_key
    cdef uint32_t i
    c.state = seed
    kernel.driver = b
    kernel.tun_write = tun_write
    kernel.send = send
    kernel.receive = receive
    kernel.wait = wait
    kernel.now_ns = 1000 * SECOND_NS + (chance_next(c) >> 20)
    b.rounds = ROUNDS
    b.loaded = chance_one_in(c, 4)
    b.scratch = <uint8_t *>malloc(RECEIVE_LEN)
    b.frame = <uint8_t *>malloc(65535 + 12)
    b.piece = <uint8_t *>malloc(65535)
    b.seen = <Seen *>calloc(SEEN, sizeof(Seen))
    b.pending = <Pending *>calloc(PENDING, sizeof(Pending))
    b.dp = dataplane_new(aead)
    if (b.scratch == NULL or b.frame == NULL or b.piece == NULL or b.seen == NULL or b.pending == NULL or b.dp == NULL
            or macs_init(&b.dp.macs) < 0):
        return -1
    kernel.kick = b.dp.receive_kick
    aead_contexts_init(&b.helper, aead)
    chance_bytes(c, mac1_key, 32)
    macs_identify(&b.dp.macs, mac1_key, mac1_key)
    blake2s_key(b.mac1_state, mac1_key, 32)
    b.dp.tun_fd = KERNEL_TUN
    b.dp.fd4 = KERNEL_UDP4
    b.dp.fd6 = KERNEL_UDP6
    b.receive_path = receive_path_new(b.dp, 1 if chance_one_in(c, 2) else 2 + <int>chance_below(c, SLOTS_MAX - 1))
    if b.receive_path == NULL:
        return -1
    b.threads.dp = b.dp
    b.threads.receive_path = b.receive_path
    if b.receive_path.batch_count > 1:
        # never started: this driver is its helper
        b.receive_path.pool = pool_new(1, aead, &b.receive_path.reorder, &b.receive_path.reorder)
    gates_enter(b.dp)
    choose_offloads(b)
    for i in range(FLOWS):
        renew_flow(b, &b.flows[i])
    for i in range(PEERS):
        add_peer(b, i)
        begin_session(b, i, chance_one_in(c, 2))
    gates_leave(b.dp)
    return 0


cdef void tear_down(Harness *b) noexcept nogil:
    cdef uint32_t i
    settle(b)
    check(b)
    hear(b)
    gates_enter(b.dp)
    for i in range(PEERS):
        if b.peers[i] != NULL:
            remove_peer(b, i)
    gates_leave(b.dp)
    for i in range(b.session_count):
        EVP_CIPHER_CTX_free(b.sessions[i].seal)
        EVP_CIPHER_CTX_free(b.sessions[i].open)
    pool_free(b.receive_path.pool)
    receive_path_free(b.receive_path)
    dataplane_free(b.dp)
    aead_contexts_free(&b.helper)
    free(b.scratch)
    free(b.frame)
    free(b.piece)
    free(b.seen)
    free(b.pending)
    kernel.wait = NULL
    kernel.kick = 0
    kernel.now_ns = 0


def case(uint64_t seed, str aead) -> tuple[int, int]:
    """Runs the case of this seed: (datagrams, packets that arrived at the TUN)."""
    cdef Harness *b = <Harness *>calloc(1, sizeof(Harness))
    cdef uint64_t datagrams, arrived
    if b == NULL or set_up(b, seed, aead_choose(aead)) < 0:
        raise MemoryError
    with nogil:
        receive_thread(&b.threads)
        tear_down(b)
    datagrams, arrived = b.datagrams, b.arrived
    free(b)
    return datagrams, arrived
