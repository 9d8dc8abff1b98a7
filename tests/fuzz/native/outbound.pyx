# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""The outbound path under a driver: TUN frames in, datagrams out, while sessions, peers and sockets come and go.

A case is one data plane from its making to its end, by one seed. The driver is the kernel (kernel.h), the control plane
between two steps, RX where it confirms a keypair in the middle of one, and the peers: every datagram of theirs is
opened by libcrypto, and has to hold what was read, undamaged and in order. It ends the process at what is wrong.
Half of the bursts are planned: they come to the limits of a batch (plans.h).
"""
from libc.errno cimport EAGAIN, EINTR, EINVAL, EIO, EMSGSIZE, ENETUNREACH, ENOBUFS, EPERM
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport fprintf, stderr
from libc.stdlib cimport abort, calloc, free, malloc
from libc.string cimport memcpy, memset

from pywg.dataplane.crypto.aead cimport AeadBackend
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts, aead_contexts_free, aead_contexts_init
from pywg.dataplane.crypto.aead_select cimport aead_choose
from pywg.dataplane.crypto.evp cimport evp_open
from pywg.dataplane.reorder.pool cimport pool_free, pool_new
from pywg.dataplane.reorder.reorder cimport SLOTS_MAX, reorder_is_empty, reorder_work
from pywg.dataplane.send.seal cimport BATCH_BYTES, MAX_RUNS, READ_MAX, send_batch_next_segments
from pywg.dataplane.send.send cimport RUNS_FOR_A_FRAME, SendPath, send_path_free, send_path_hold, send_path_new
from pywg.dataplane.send.send cimport send_path_release, send_staged, send_step
from pywg.dataplane.state.allowedips cimport allowedips_insert
from pywg.dataplane.state.dataplane cimport Dataplane, dataplane_free, dataplane_new, gates_enter, gates_leave
from pywg.dataplane.state.gate cimport gate_enter, gate_leave
from pywg.dataplane.state.peer cimport BATCH_DATAGRAMS, Keypair, Peer
from pywg.dataplane.state.peers cimport keypair_new, keypair_publish, keypair_retire, peer_free, peer_new
from pywg.dataplane.state.staged cimport staged_drop_all
from pywg.dataplane.sys.atomic cimport store_pointer
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.sys.libcrypto cimport EVP_CIPHER_CTX, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_CipherInit_ex
from pywg.dataplane.sys.libcrypto cimport EVP_chacha20_poly1305
from pywg.dataplane.sys.linux cimport AF_INET, AF_INET6, CMSG_DATA, CMSG_FIRSTHDR, CMSG_NXTHDR, SOL_UDP, UDP_SEGMENT
from pywg.dataplane.sys.linux cimport cmsghdr, iovec, mmsghdr, msghdr
from pywg.dataplane.wire.limits cimport REJECT_AFTER_MESSAGES
from pywg.dataplane.wire.run cimport RUN_MAX_DATAGRAMS
from pywg.dataplane.wire.virtio cimport VNET_F_NEEDS_CSUM, VNET_GSO_ECN, VNET_GSO_TCPV4, VNET_GSO_TCPV6, VNET_GSO_UDP_L4
from pywg.dataplane.wire.virtio cimport VnetHdr
from pywg.dataplane.wire.wireguard cimport TAG_LEN, WG_HEADER_LEN, TransportHeader

from tests.fuzz.native.harness cimport (
    KERNEL_TUN, KERNEL_UDP4, KERNEL_UDP6, TRAFFIC_RAW, TRAFFIC_TCP, TRAFFIC_UDP, Chance, chance_below, chance_bytes,
    chance_len, chance_next, chance_one_in, finish_packet, ip_header_len, kernel, l4_header_len, make_packet,
    marked_len, number_address, peer_address, put16, sum16,
)

cdef extern from "plans.h" nogil:
    enum:
        PLAN_TO_THE_END
    struct Planned "planned":
        uint32_t len, gso_size
    struct Plan "plan":
        Planned frames[1]       # PLAN_MAX
        uint32_t count, at
    struct PlanTerms "plan_terms":
        uint32_t shortest, headers, mtu, batch_bytes, staged_bytes, datagrams, runs, runs_of_a_frame
    void plan_add(Plan *p, uint32_t len, uint32_t gso_size)
    uint32_t plan_wire_len(uint32_t len, uint32_t mtu)
    void plan_part(Plan *p, Chance *c, const PlanTerms *t, bint offloads, bint staged)
    void plan_end(Plan *p, Chance *c, const PlanTerms *t, bint offloads)

cdef enum:
    PEERS = 5               # the first gets what is damaged, and is not looked at
    SESSIONS = 96
    OPS = 96                # of a case
    UDP_MAX = 65507
    FIRST_INDEX = 0x1000
    HEALTHY = 0             # moods of the sockets
    FULL = 1
    FLAKY = 2


cdef struct Session:
    uint8_t key[32]
    EVP_CIPHER_CTX *ctx
    Keypair *keypair        # NULL once it is retired
    uint32_t peer
    uint64_t next_counter   # no datagram may have a lower one


cdef struct Harness:
    Chance chance
    Dataplane *dp
    SendPath *send_path
    AeadContexts helper
    Peer *peers[PEERS]
    Session sessions[SESSIONS]
    uint32_t session_count
    uint32_t number                 # of the last frame
    uint32_t arrived[PEERS]         # the number of the last packet that arrived
    uint32_t frames_left            # in the TUN
    int until_confirmed             # frames; then the burst's peer has a session
    uint64_t frames, datagrams
    int mood
    # What the frames of a burst have in common
    uint32_t burst_peer
    int burst_version
    uint32_t[2] burst_lens          # one of the two; 0: each has another
    bint giants                     # a few fill a buffer
    Plan plan                       # the frames that come first
    int plan_protocol               # of its superframes
    uint8_t *scratch


cdef void need(bint holds, const char *what) noexcept nogil:
    if not holds:
        fprintf(stderr, b"outbound: %s\n", what)
        abort()


# ---- the TUN

cdef ssize_t tun_read(void *driver, uint8_t *to, size_t room) noexcept nogil:
    cdef Harness *b = <Harness *>driver
    cdef uint32_t vnet_len = <uint32_t>b.dp.vnet_hdr_len
    need(room == READ_MAX, b"a read of another length")
    if b.frames_left == 0:
        return -EAGAIN
    cdef Planned *planned = &b.plan.frames[b.plan.at] if b.plan.at < b.plan.count else NULL
    if planned != NULL and planned.len == 0:
        b.plan.at += 1
        return -EAGAIN
    if chance_one_in(&b.chance, 150 if planned == NULL else 2000):
        return -EINTR if chance_one_in(&b.chance, 2) else -EIO
    b.frames_left -= 1
    b.frames += 1
    b.until_confirmed -= 1
    if b.until_confirmed == 0:
        confirm(b.peers[b.burst_peer])
    elif chance_one_in(&b.chance, 100):
        confirm(b.peers[chance_below(&b.chance, PEERS)])
    memset(to, 0, vnet_len)
    if planned != NULL:
        b.plan.at += 1
        return vnet_len + planned_frame(b, planned, <VnetHdr *>to, to + vnet_len)
    if chance_one_in(&b.chance, 12):
        return wild_frame(b, to, vnet_len)
    return vnet_len + marked_frame(b, <VnetHdr *>to, to + vnet_len, vnet_len != 0)


cdef void confirm(Peer *peer) noexcept nogil:
    """As RX does, at any time: what a peer's first packet under a new keypair shows is sealed with from now on."""
    if peer != NULL and peer.next != NULL:
        store_pointer(<void **>&peer.sending, peer.next)
        peer.next = NULL


cdef uint32_t marked_frame(Harness *b, VnetHdr *hdr, uint8_t *packet, bint offloads) noexcept nogil:
    """A packet or superframe that is right; its length."""
    cdef Chance *c = &b.chance
    cdef uint32_t peer = b.burst_peer if b.burst_peer else 1 + chance_below(c, PEERS - 1)
    cdef int version = b.burst_version if b.burst_version else (4 if chance_one_in(c, 2) else 6)
    cdef int protocol = TRAFFIC_RAW
    cdef uint32_t ip_len = ip_header_len(version), len, payload_len, gso_size
    cdef bint cut = offloads and chance_one_in(c, 5)
    if cut or chance_one_in(c, 3):
        protocol = TRAFFIC_TCP if chance_one_in(c, 2) else TRAFFIC_UDP
    len = b.burst_lens[chance_below(c, 2)]
    if b.giants and not cut:
        # They fill the memory for staged packets to its last bytes; what comes behind is read, and not staged.
        len = chance_below(c, 65536 if b.until_confirmed > 0 or chance_one_in(c, 3) else 32768)
    elif len == 0 or cut:
        len = chance_len(c, 0, 65535, b.dp.mtu)
    if cut and chance_one_in(c, 2):
        len = 65535 - chance_below(c, 64)
    len = min(max(len, ip_len + l4_header_len(protocol)), <uint32_t>65535)
    write_packet(b, packet, peer, version, protocol, len)
    if not cut and not (offloads and protocol != TRAFFIC_RAW and chance_one_in(c, 4)):
        return len
    leave_checksum(hdr, packet, version, protocol, len)
    if cut:
        payload_len = len - ip_len - l4_header_len(protocol)
        gso_size = 1 + chance_below(c, max(payload_len, <uint32_t>1)) if chance_one_in(c, 4) else (
            max(chance_len(c, 1, 65535, b.dp.mtu), <uint32_t>60) - 48)
        cut_into(c, hdr, version, protocol, gso_size)
    return len


cdef uint32_t planned_frame(Harness *b, const Planned *planned, VnetHdr *hdr, uint8_t *packet) noexcept nogil:
    """What was planned, for the burst's peer; its length."""
    cdef int protocol = b.plan_protocol if planned.gso_size else TRAFFIC_RAW, version = b.burst_version
    cdef uint32_t len = planned.len, gso_size = planned.gso_size
    if gso_size == PLAN_TO_THE_END:
        gso_size = 1 + chance_below(&b.chance, <uint32_t>1 << chance_below(&b.chance, 10))
        len = len_to_the_end(b, version, protocol, gso_size)
    write_packet(b, packet, b.burst_peer, version, protocol, len)
    if gso_size:
        leave_checksum(hdr, packet, version, protocol, len)
        cut_into(&b.chance, hdr, version, protocol, gso_size)
    return len


cdef uint32_t len_to_the_end(Harness *b, int version, int protocol, uint32_t gso_size) noexcept nogil:
    """Of a superframe whose datagrams take the room that there is, or some bytes more or less."""
    cdef uint32_t room, headers = ip_header_len(version) + l4_header_len(protocol), stride, last
    send_batch_next_segments(b.send_path.batch, &room)
    stride = plan_wire_len(headers + gso_size, b.dp.mtu)
    last = room % stride + 32 - chance_below(&b.chance, 48)
    last = last - plan_wire_len(headers, 0) if last > plan_wire_len(headers, 0) else 1
    return min(headers + room // stride * gso_size + min(last, gso_size), <uint32_t>65535)


cdef void write_packet(Harness *b, uint8_t *packet, uint32_t peer, int version, int protocol,
                       uint32_t len) noexcept nogil:
    cdef Chance *c = &b.chance
    b.number += 1
    make_packet(packet, version, protocol, len, b.number, chance_below(c, 0xFFFFFFFF))
    number_address(packet + (12 if version == 4 else 8), version, b.number)
    peer_address(packet + (16 if version == 4 else 24), version, peer, chance_below(c, 0xFFFF))
    if b.plan.at >= b.plan.count and chance_one_in(c, 4):
        packet[1] |= <uint8_t>((3 if version == 4 else 0x30) & chance_next(c))
    finish_packet(packet, version, protocol, len)


cdef void leave_checksum(VnetHdr *hdr, uint8_t *packet, int version, int protocol, uint32_t len) noexcept nogil:
    """The receiver has to finish it."""
    cdef uint32_t ip_len = ip_header_len(version)
    hdr.flags = VNET_F_NEEDS_CSUM
    hdr.csum_start = ip_len
    hdr.csum_offset = 16 if protocol == TRAFFIC_TCP else 6
    put16(packet + ip_len + hdr.csum_offset, pseudo_sum(packet, version, protocol, len - ip_len))


cdef void cut_into(Chance *c, VnetHdr *hdr, int version, int protocol, uint32_t gso_size) noexcept nogil:
    cdef uint32_t headers = ip_header_len(version) + l4_header_len(protocol)
    hdr.gso_size = <uint16_t>gso_size
    hdr.hdr_len = <uint16_t>(headers if chance_one_in(c, 2) else chance_next(c))
    hdr.gso_type = VNET_GSO_UDP_L4 if protocol == TRAFFIC_UDP else VNET_GSO_TCPV4 if version == 4 else VNET_GSO_TCPV6
    if chance_one_in(c, 8):
        hdr.gso_type |= VNET_GSO_ECN


cdef uint32_t pseudo_sum(const uint8_t *packet, int version, int protocol, uint32_t l4_len) noexcept nogil:
    return sum16(packet + (12 if version == 4 else 8), 8 if version == 4 else 32, <uint32_t>protocol + l4_len)


cdef uint32_t wild_frame(Harness *b, uint8_t *frame, uint32_t vnet_len) noexcept nogil:
    """Anything; with a virtio header its whole length. To the first peer, or to nobody."""
    cdef Chance *c = &b.chance
    cdef uint32_t len = chance_len(c, 0, 65535, b.dp.mtu), at = chance_below(c, 3)
    cdef uint32_t length = vnet_len + len
    cdef uint8_t *packet = frame + vnet_len
    cdef int version = 4 if chance_one_in(c, 2) else 6
    cdef Session *session
    cdef Peer *peer
    chance_bytes(c, packet, len)
    if chance_one_in(c, 2):
        chance_bytes(c, frame, vnet_len)
        if vnet_len and chance_one_in(c, 2):
            frame[1] = <uint8_t>chance_below(c, 6)
    if len < 40:
        return chance_below(c, length + 1) if chance_one_in(c, 4) else length
    packet[0] = <uint8_t>(version << 4 | (5 if chance_one_in(c, 2) else chance_below(c, 16)))
    if chance_one_in(c, 2):
        packet[9 if version == 4 else 6] = 17 if chance_one_in(c, 2) else 6
    if chance_one_in(c, 2):
        put16(packet + (2 if version == 4 else 4), len if version == 4 else len - 40)
    if at == 0:
        packet[16 if version == 4 else 24] = 11     # nobody's
    else:
        peer_address(packet + (16 if version == 4 else 24), version, 0, chance_below(c, 0xFFFF))
    if at == 1 and len >= 80 and b.session_count:
        # What looks like a transport message of ours on its way to a peer.
        session = &b.sessions[chance_below(c, b.session_count)]
        peer = b.peers[session.peer]
        if peer != NULL and peer.endpoint.ip_len == (4 if version == 4 else 16):
            packet[0] = <uint8_t>(version << 4 | 5)
            packet[9 if version == 4 else 6] = 17
            memcpy(packet + (16 if version == 4 else 24), peer.endpoint.ip, peer.endpoint.ip_len)
            packet += ip_header_len(version)
            memcpy(packet + 2, &peer.endpoint.port, 2)
            memset(packet + 8, 0, 4)
            packet[8] = 4
            (<TransportHeader *>(packet + 8)).receiver_index = FIRST_INDEX + <uint32_t>(session - b.sessions)
    return length


cdef ssize_t tun_write(void *driver, const iovec *iov, int count) noexcept nogil:
    """An answer to a packet that no peer takes."""
    cdef Harness *b = <Harness *>driver
    need(count == 1 and iov.iov_len > <size_t>b.dp.vnet_hdr_len and iov.iov_len <= 1280 + 12, b"an ICMP of that length")
    memcpy(b.scratch, iov.iov_base, iov.iov_len)
    return -EAGAIN if chance_one_in(&b.chance, 8) else <ssize_t>iov.iov_len


# ---- the sockets

cdef int send(void *driver, int fd, mmsghdr *messages, unsigned int count) noexcept nogil:
    cdef Harness *b = <Harness *>driver
    cdef unsigned int i, taken = count
    cdef uint32_t stride
    cdef int error
    need(0 < count <= 64, b"so many messages")
    for i in range(count):
        need(message_is_right(fd, &messages[i].msg_hdr, &stride), b"a message that the kernel refuses")
    if b.mood != HEALTHY:
        error = mood_says(b)
        if error:
            return -error
        taken = 1 + chance_below(&b.chance, count)
    for i in range(taken):
        if messages[i].msg_hdr.msg_iov.iov_len > UDP_MAX:
            return <int>i if i else -EMSGSIZE
        message_is_right(fd, &messages[i].msg_hdr, &stride)
        arrive(b, <const uint8_t *>messages[i].msg_hdr.msg_iov.iov_base,
               <uint32_t>messages[i].msg_hdr.msg_iov.iov_len, stride)
        messages[i].msg_len = <unsigned int>messages[i].msg_hdr.msg_iov.iov_len
    return <int>taken


cdef int mood_says(Harness *b) noexcept nogil:
    """What sendmmsg fails with, 0: nothing."""
    cdef int[8] errors
    if b.mood == FULL:
        return EAGAIN
    errors = [EAGAIN, EMSGSIZE, EIO, EINVAL, EPERM, ENOBUFS, EINTR, ENETUNREACH]
    return errors[chance_below(&b.chance, 8)] if chance_one_in(&b.chance, 3) else 0


cdef bint message_is_right(int fd, msghdr *message, uint32_t *stride) noexcept nogil:
    """`stride`: of the datagrams, or 0: there is one."""
    cdef cmsghdr *control = CMSG_FIRSTHDR(message)
    cdef size_t controls = 0, len = message.msg_iov.iov_len
    cdef uint16_t size
    stride[0] = 0
    while control != NULL:
        controls += 1
        if control.cmsg_level == SOL_UDP and control.cmsg_type == UDP_SEGMENT:
            memcpy(&size, CMSG_DATA(control), sizeof(size))
            stride[0] = size
            if size == 0 or len > UDP_MAX or (len + size - 1) // size > 64:
                return False
        control = CMSG_NXTHDR(message, control)
    if (controls == 0) != (message.msg_control == NULL) or controls > 3 or message.msg_iovlen != 1:
        return False
    if message.msg_namelen != (16 if fd == KERNEL_UDP4 else 28):
        return False
    return (<uint16_t *>message.msg_name)[0] == (AF_INET if fd == KERNEL_UDP4 else AF_INET6)


cdef void arrive(Harness *b, const uint8_t *data, uint32_t len, uint32_t stride) noexcept nogil:
    cdef uint32_t at = 0, one
    if stride == 0:
        stride = len
    while at < len:
        one = min(stride, len - at)
        memcpy(b.scratch, data + at, one)
        open_datagram(b, b.scratch, one)
        b.datagrams += 1
        at += stride


cdef void open_datagram(Harness *b, uint8_t *datagram, uint32_t len) noexcept nogil:
    cdef TransportHeader *header = <TransportHeader *>datagram
    cdef uint8_t *text = datagram + WG_HEADER_LEN
    cdef uint32_t index, text_len, inner_len, number = 0, i
    cdef Session *session
    need(len >= WG_HEADER_LEN + TAG_LEN and header.type == 4, b"no transport message")
    index = header.receiver_index - FIRST_INDEX
    need(index < b.session_count, b"an index of no session")
    session = &b.sessions[index]
    need(header.counter >= session.next_counter, b"a counter again")
    need(header.counter < REJECT_AFTER_MESSAGES, b"a counter past the limit")
    session.next_counter = header.counter + 1
    text_len = len - WG_HEADER_LEN - TAG_LEN
    need(evp_open(session.ctx, header.counter, text, text_len), b"not authentic")
    if session.peer == 0 or text_len == 0:
        return
    inner_len = marked_len(text, text_len, 0, True, &number)
    need(inner_len != 0, b"a damaged packet")
    need(text_len - inner_len < 16, b"so much padding")
    for i in range(inner_len, text_len):
        need(text[i] == 0, b"padding that is not zero")
    need(text[17] == session.peer if text[0] >> 4 == 4 else text[24 + 7] == session.peer, b"another peer's packet")
    need(number >= b.arrived[session.peer], b"overtaken by a later packet")
    b.arrived[session.peer] = number


# ---- the control plane

cdef void hold(Harness *b) noexcept nogil:
    """All that was submitted is worked on: here helpers are this driver."""
    while reorder_work(&b.send_path.reorder, &b.helper):
        pass
    gates_enter(b.dp)
    send_path_hold(b.send_path)


cdef void release(Harness *b) noexcept nogil:
    send_path_release(b.send_path)
    gates_leave(b.dp)


cdef void add_peer(Harness *b, uint32_t i) noexcept nogil:
    cdef Peer *peer = peer_new(i)
    cdef uint8_t address[16]
    need(peer != NULL, b"no memory")
    b.peers[i] = peer
    peer_address(address, 4, i, 0)
    allowedips_insert(b.dp.allowed, address, 4, 16, &peer.allowed)
    peer_address(address, 6, i, 0)
    allowedips_insert(b.dp.allowed, address, 16, 64, &peer.allowed)
    if i == 0:      # the outer addresses of all: a tunnel in a tunnel
        memset(address, 192, 16)
        allowedips_insert(b.dp.allowed, address, 4, 8, &peer.allowed)
        allowedips_insert(b.dp.allowed, address, 16, 8, &peer.allowed)
    set_endpoint(b, peer)


cdef void set_endpoint(Harness *b, Peer *peer) noexcept nogil:
    cdef uint32_t what = chance_below(&b.chance, 8)
    memset(&peer.endpoint, 0, sizeof(peer.endpoint))
    if what == 0:
        return
    peer.endpoint.ip_len = 4 if what < 5 else 16
    peer.endpoint.port = <uint16_t>chance_next(&b.chance)
    memset(peer.endpoint.ip, 192, peer.endpoint.ip_len)
    peer.endpoint.ip[peer.endpoint.ip_len - 1] = <uint8_t>peer.id
    if what % 2:
        peer.endpoint.local_len = peer.endpoint.ip_len
        memset(peer.endpoint.local_ip, 7, peer.endpoint.local_len)
        peer.endpoint.scope_id = chance_below(&b.chance, 2)


cdef void remove_peer(Harness *b, uint32_t i) noexcept nogil:
    cdef uint32_t k
    for k in range(b.session_count):
        if b.sessions[k].peer == i:
            b.sessions[k].keypair = NULL
    peer_free(b.dp, b.peers[i])
    b.peers[i] = NULL


cdef void begin_session(Harness *b, uint32_t i, bint confirmed) noexcept nogil:
    """`confirmed`: packets are sealed with it from now on; else only once RX has seen one under it."""
    cdef Session *session = &b.sessions[b.session_count]
    cdef Keypair *keypair
    if b.session_count == SESSIONS or b.peers[i] == NULL:
        return
    chance_bytes(&b.chance, session.key, 32)
    session.ctx = EVP_CIPHER_CTX_new()
    need(session.ctx != NULL and EVP_CipherInit_ex(session.ctx, EVP_chacha20_poly1305(), NULL, session.key, NULL, 0),
         b"no context")
    keypair = keypair_new(b.peers[i], session.key, session.key)
    need(keypair != NULL, b"no memory")
    session.keypair = keypair
    session.peer = i
    keypair.local_index = keypair.remote_index = FIRST_INDEX + b.session_count
    keypair.initiator = confirmed
    keypair.birth_ns = kernel.now_ns - chance_below(&b.chance, 190) * SECOND_NS * chance_below(&b.chance, 2)
    if chance_one_in(&b.chance, 4):
        keypair.next_counter = chance_next(&b.chance) >> chance_below(&b.chance, 64)
    if chance_one_in(&b.chance, 16):
        keypair.next_counter = REJECT_AFTER_MESSAGES - BATCH_DATAGRAMS - chance_below(&b.chance, 100)
    session.next_counter = keypair.next_counter
    need(keypair_publish(b.dp, keypair, confirmed) == 0, b"no memory")
    if confirmed:
        b.peers[i].sending = keypair
    b.session_count += 1


cdef void end_session(Harness *b) noexcept nogil:
    cdef Session *session
    if b.session_count == 0:
        return
    session = &b.sessions[chance_below(&b.chance, b.session_count)]
    if session.keypair != NULL:
        keypair_retire(b.dp, session.keypair)
        session.keypair = NULL


cdef void choose_offloads(Harness *b) noexcept nogil:
    cdef uint32_t[8] mtus
    mtus = [1280, 1420, 1500, 8920, 16384, 32768, 65520, 65535]
    b.dp.mtu = mtus[chance_below(&b.chance, 8)] if not chance_one_in(&b.chance, 8) else chance_below(&b.chance, 65536)
    b.dp.vnet_hdr_len = 10 if not chance_one_in(&b.chance, 4) else 12 * <int>chance_below(&b.chance, 2)
    b.dp.gso4 = <uint8_t>(not chance_one_in(&b.chance, 4))
    b.dp.gso6 = <uint8_t>(not chance_one_in(&b.chance, 4))
    b.dp.gso_equal_tail = <uint8_t>(not chance_one_in(&b.chance, 4))


# ---- a case

cdef bint step(Harness *b) noexcept nogil:
    gate_enter(&b.dp.send_gate)
    cdef bint more = send_step(b.send_path)
    gate_leave(&b.dp.send_gate)
    return more


cdef void work(Harness *b, int steps) noexcept nogil:
    """As the thread does, until there is nothing to do, but not more often than `steps` times."""
    while steps > 0 and step(b):
        steps -= 1
    if not chance_one_in(&b.chance, 3):
        while reorder_work(&b.send_path.reorder, &b.helper):
            pass


cdef void burst(Harness *b) noexcept nogil:
    cdef Chance *c = &b.chance
    b.frames_left = 1 + chance_below(c, 70)
    b.burst_peer = 1 + chance_below(c, PEERS - 1) if not chance_one_in(c, 4) else 0
    b.burst_version = (4 if chance_one_in(c, 2) else 6) if not chance_one_in(c, 4) else 0
    b.giants = False
    b.burst_lens[0] = 0 if chance_one_in(c, 4) else chance_len(c, 20, 65535, b.dp.mtu)
    b.burst_lens[1] = b.burst_lens[0] if chance_one_in(c, 3) else chance_len(c, 20, 65535, b.dp.mtu)
    if b.burst_peer and not chance_one_in(c, 3):
        # What is staged first goes in the middle of the burst.
        begin_anew(b, b.burst_peer, False)
        # A few large ones or many small ones.
        b.until_confirmed = 1 + <int>chance_below(c, <uint32_t>1 << chance_below(c, 8))
        b.giants = chance_one_in(c, 4)
        if b.giants:
            b.until_confirmed = 1 + <int>chance_below(c, 16)
            b.frames_left = 1 + chance_below(c, 12)
        b.frames_left += <uint32_t>b.until_confirmed
    work(b, 1 << chance_below(c, 6))
    b.until_confirmed = 0


cdef void begin_anew(Harness *b, uint32_t i, bint confirmed) noexcept nogil:
    """A peer that is there, and whose session is another one from now on, or once it is confirmed."""
    hold(b)
    if b.peers[i] == NULL:
        add_peer(b, i)
    b.peers[i].sending = NULL
    begin_session(b, i, confirmed)
    release(b)


cdef void planned_burst(Harness *b) noexcept nogil:
    """Packets that wait for a session, which is confirmed in the middle, and what is read behind them."""
    cdef Chance *c = &b.chance
    cdef PlanTerms terms
    cdef bint offloads = b.dp.vnet_hdr_len != 0, waits = not chance_one_in(c, 4)
    cdef uint32_t i
    cdef int _part
    b.mood = HEALTHY if not chance_one_in(c, 4) else b.mood
    b.frames_left = 0
    work(b, 64)
    b.burst_peer = 1 + chance_below(c, PEERS - 1)
    b.burst_version = 4 if chance_one_in(c, 2) else 6
    b.plan_protocol = TRAFFIC_TCP if chance_one_in(c, 2) else TRAFFIC_UDP
    begin_anew(b, b.burst_peer, not waits)
    if not chance_one_in(c, 4):
        gate_enter(&b.dp.send_gate)
        for i in range(PEERS):
            if b.peers[i] != NULL:
                staged_drop_all(b.dp, b.peers[i])   # else it is in the way of what is planned
        gate_leave(&b.dp.send_gate)
    while b.peers[b.burst_peer].endpoint.ip_len == 0:
        set_endpoint(b, b.peers[b.burst_peer])
    terms.shortest = ip_header_len(b.burst_version)
    terms.headers = terms.shortest + l4_header_len(b.plan_protocol)
    terms.mtu = b.dp.mtu
    terms.batch_bytes = BATCH_BYTES
    terms.staged_bytes = <uint32_t>b.dp.staged_max
    terms.datagrams = RUN_MAX_DATAGRAMS
    terms.runs = MAX_RUNS
    terms.runs_of_a_frame = RUNS_FOR_A_FRAME
    b.plan.count = b.plan.at = 0
    if waits:
        for _part in range(1 + <int>chance_below(c, 2)):
            plan_part(&b.plan, c, &terms, offloads, True)
            if chance_one_in(c, 3):
                plan_end(&b.plan, c, &terms, False)
        b.until_confirmed = 1 + <int>b.plan.count
        if not chance_one_in(c, 4):
            plan_add(&b.plan, 0, 0)     # the thread has slept before it is confirmed
    plan_part(&b.plan, c, &terms, offloads, False)
    plan_end(&b.plan, c, &terms, offloads)
    b.frames_left = b.plan.count
    work(b, 64)
    work(b, 64)
    b.until_confirmed = 0
    b.plan.count = b.plan.at = 0


cdef void operate(Harness *b) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef uint32_t what = chance_below(c, 20), i = chance_below(c, PEERS)
    if what < 10:
        if chance_one_in(c, 2):
            planned_burst(b)
        else:
            burst(b)
        return
    hold(b)
    if what < 12:
        begin_session(b, i, chance_one_in(c, 2))
    elif what == 12:
        confirm(b.peers[i])
    elif what == 13:
        end_session(b)
    elif what == 14 and b.peers[i] != NULL:
        send_staged(b.send_path, b.peers[i], chance_one_in(c, 2), kernel.now_ns)
    elif what == 15 and b.peers[i] != NULL:
        set_endpoint(b, b.peers[i])
    elif what == 16:
        b.mood = <int>chance_below(c, 3) if chance_one_in(c, 2) else HEALTHY
    elif what == 17:
        kernel.now_ns += chance_next(c) >> (26 + chance_below(c, 30))
    elif what == 18:
        choose_offloads(b)
    elif what == 19 and chance_one_in(c, 2):
        if b.peers[i] != NULL:
            remove_peer(b, i)
        else:
            add_peer(b, i)
    release(b)


cdef int set_up(Harness *b, uint64_t seed, const AeadBackend *aead) noexcept nogil:
    cdef uint32_t i
    b.chance.state = seed
    kernel.driver = b
    kernel.tun_read = tun_read
    kernel.tun_write = tun_write
    kernel.send = send
    kernel.now_ns = (1 + (chance_next(&b.chance) >> 30)) * 1000
    b.scratch = <uint8_t *>malloc(65536 + 256)
    b.dp = dataplane_new(aead)
    if b.dp == NULL or b.scratch == NULL:
        return -1
    aead_contexts_init(&b.helper, aead)
    b.dp.tun_fd = KERNEL_TUN
    b.dp.fd4 = KERNEL_UDP4
    b.dp.fd6 = KERNEL_UDP6
    b.dp.staged_max = 65536 + chance_below(&b.chance, 1 << 17)     # a few large packets reach it
    if chance_one_in(&b.chance, 2):
        b.dp.staged_max = <uint64_t>1 << (12 + chance_below(&b.chance, 13))
    choose_offloads(b)
    b.send_path = send_path_new(
        b.dp, 1 if chance_one_in(&b.chance, 2) else 2 + <int>chance_below(&b.chance, SLOTS_MAX - 1)
    )
    if b.send_path == NULL:
        return -1
    if b.send_path.batch_count > 1:
        # never started: this driver is its helper
        b.send_path.pool = pool_new(1, aead, &b.send_path.reorder, &b.send_path.reorder)
    gates_enter(b.dp)
    for i in range(PEERS):
        add_peer(b, i)
        begin_session(b, i, chance_one_in(&b.chance, 2))
    gates_leave(b.dp)
    return 0


cdef void tear_down(Harness *b) noexcept nogil:
    """All that was queued goes; then nothing is left."""
    cdef int rounds = 0
    cdef uint32_t i
    b.mood = HEALTHY
    b.frames_left = 0
    while rounds < 100 and (step(b) or b.send_path.backlog or not reorder_is_empty(&b.send_path.reorder)):
        while reorder_work(&b.send_path.reorder, &b.helper):
            pass
        rounds += 1
    need(not b.send_path.backlog and reorder_is_empty(&b.send_path.reorder), b"what was queued never went")
    hold(b)
    for i in range(PEERS):
        if b.peers[i] != NULL:
            remove_peer(b, i)
    release(b)
    need(b.dp.staged_bytes == 0, b"staged bytes of no peer")
    for i in range(b.session_count):
        EVP_CIPHER_CTX_free(b.sessions[i].ctx)
    pool_free(b.send_path.pool)
    send_path_free(b.send_path)
    dataplane_free(b.dp)
    aead_contexts_free(&b.helper)
    free(b.scratch)
    kernel.now_ns = 0


def case(uint64_t seed, str aead) -> tuple[int, int]:
    """Runs the case of this seed: (TUN frames, datagrams that arrived)."""
    cdef Harness *b = <Harness *>calloc(1, sizeof(Harness))
    cdef uint64_t frames, datagrams
    cdef int _i
    if b == NULL or set_up(b, seed, aead_choose(aead)) < 0:
        raise MemoryError
    with nogil:
        for _i in range(OPS):
            operate(b)
        tear_down(b)
    frames, datagrams = b.frames, b.datagrams
    free(b)
    return frames, datagrams
