"""The receive path without the kernel: messages in the receive buffers become frames for a TUN that takes all."""
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from posix.fcntl cimport O_WRONLY, open
from posix.unistd cimport close

from pywg.dataplane.crypto.aead cimport Aead, aead_free, aead_init, aead_use, seal_run
from pywg.dataplane.crypto.aead_select cimport aead_choose
from pywg.dataplane.receive.coalesce cimport COALESCE_TCP, COALESCE_UDP
from pywg.dataplane.receive.deliver cimport delivery_prepare, delivery_renew
from pywg.dataplane.receive.receive cimport ReceivePath, receive_messages, receive_path_free, receive_path_new
from pywg.dataplane.send.segment cimport Superframe, segment_cut, segment_plan
from pywg.dataplane.state.allowedips cimport allowedips_insert
from pywg.dataplane.state.dataplane cimport Dataplane, dataplane_free, dataplane_new, gates_enter, gates_leave
from pywg.dataplane.state.peer cimport Keypair, Peer
from pywg.dataplane.state.peers cimport keypair_new, keypair_publish, peer_free, peer_new
from pywg.dataplane.sys.clock cimport now_ns
from pywg.dataplane.sys.linux cimport AF_INET, CMSG_DATA, CMSG_LEN, CMSG_SPACE, SOL_UDP, UDP_GRO, cmsghdr, sockaddr_in
from pywg.dataplane.udp.receive cimport Receiver
from pywg.dataplane.wire.ip cimport IpView, ip_read
from pywg.dataplane.wire.run cimport Run, run_len
from pywg.dataplane.wire.virtio cimport VNET_HDR_LEN, VnetHdr
from pywg.dataplane.wire.wireguard cimport KEY_LEN

cdef enum:
    MAX_RUNS = 16       # of a superframe
    OUT_LEN = 200_000
    MESSAGES = 8        # of a receive: as many as where they are long
    INDEX = 7


cdef int seal(str aead, const uint8_t *key, const VnetHdr *hdr, bytes packet, uint32_t mtu, uint8_t *out,
              Run *runs) except -1:
    """Cuts and seals a superframe. The number of runs."""
    cdef Aead sealer
    cdef Superframe frame
    cdef IpView ip
    cdef uint64_t counter = 0
    cdef int i, n
    aead_init(&sealer, aead_choose(aead), True)
    if aead_use(&sealer, key) < 0:
        raise MemoryError
    ip_read(&ip, <uint8_t *>PyBytes_AS_STRING(packet), <uint32_t>len(packet))
    n = segment_plan(&frame, hdr, VNET_HDR_LEN, &ip, mtu, out, OUT_LEN, runs, MAX_RUNS)
    for i in range(n):
        segment_cut(&frame, &runs[i], 0, runs[i].count)
        seal_run(&sealer, &runs[i], INDEX, counter)
        counter += runs[i].count
    aead_free(&sealer)
    if not 0 < n <= MESSAGES:
        raise ValueError("not a superframe that can be cut to few runs")
    return n


cdef void receive_run(Receiver *receiver, int i, const Run *run) noexcept nogil:
    """What the kernel does."""
    cdef sockaddr_in *name = <sockaddr_in *>&receiver.names[i]
    cdef cmsghdr *control = <cmsghdr *>receiver.control[i]
    cdef int stride = <int>run.stride
    memcpy(receiver.buffers + <size_t>i * 65536, run.base, run_len(run))
    receiver.iov[i].iov_base = receiver.buffers + <size_t>i * 65536
    receiver.messages[i].msg_len = run_len(run)
    receiver.messages[i].msg_hdr.msg_flags = 0
    memset(name, 0, sizeof(sockaddr_in))
    name.sin_family = AF_INET
    control.cmsg_level = SOL_UDP
    control.cmsg_type = UDP_GRO
    control.cmsg_len = CMSG_LEN(sizeof(int))
    memcpy(CMSG_DATA(control), &stride, sizeof(int))
    receiver.messages[i].msg_hdr.msg_control = control
    receiver.messages[i].msg_hdr.msg_controllen = CMSG_SPACE(sizeof(int))


cdef uint64_t least(ReceivePath *path, Keypair *keypair, const Run *runs, int count, uint32_t rounds) noexcept nogil:
    """Nanoseconds of the fastest of the rounds, each of one receive."""
    cdef uint64_t start, fastest = ~<uint64_t>0
    cdef uint32_t _i
    cdef int i
    for _i in range(rounds):
        for i in range(count):
            receive_run(path.batch.receiver, i, &runs[i])
        path.batch.receiver.used = count
        memset(&keypair.window, 0, sizeof(keypair.window))
        start = now_ns()
        receive_messages(path, count)
        fastest = min(fastest, now_ns() - start)
    return fastest


def bench_superframe(str aead, bytes vnet_hdr: bytes, bytes packet: bytes, uint32_t mtu, uint32_t rounds) -> float:
    """Nanoseconds a superframe from the receive buffers to the TUN, which is /dev/null; the fastest of the rounds."""
    cdef uint8_t[KEY_LEN] key
    cdef uint8_t[4] anywhere
    cdef Run runs[MAX_RUNS]
    cdef VnetHdr hdr
    cdef Dataplane *dp = dataplane_new(aead_choose(aead))
    cdef Peer *peer = peer_new(1)
    cdef ReceivePath *path
    cdef Keypair *keypair
    cdef uint8_t *out = <uint8_t *>malloc(OUT_LEN)
    cdef uint64_t took
    cdef int count
    memset(key, 7, KEY_LEN)
    memset(anywhere, 0, 4)
    memcpy(&hdr, PyBytes_AS_STRING(vnet_hdr[:VNET_HDR_LEN]), VNET_HDR_LEN)
    if dp == NULL or peer == NULL or out == NULL:
        raise MemoryError
    count = seal(aead, key, &hdr, packet, mtu, out, runs)
    keypair = keypair_new(peer, key, key)
    path = receive_path_new(dp, 1, 0)
    if keypair == NULL or path == NULL or allowedips_insert(dp.shared.allowed, anywhere, 4, 0, &peer.allowed) < 0:
        raise MemoryError
    dp.tun_fd = open(b"/dev/null", O_WRONLY)
    dp.coalesce = COALESCE_TCP | COALESCE_UDP
    dp.vnet_hdr_len = VNET_HDR_LEN
    keypair.local_index = INDEX
    keypair.birth_ns = now_ns()
    with nogil:
        gates_enter(dp)
        if delivery_prepare(&path.delivery, VNET_HDR_LEN) == 0:
            delivery_renew(&path.delivery)
        keypair_publish(dp, keypair, True)
        took = least(path, keypair, runs, count, rounds)
        receive_path_free(path)
        peer_free(dp, peer)
        gates_leave(dp)
        close(dp.tun_fd)
    packets, refused = dp.counters.rx_packets, dp.counters.rx_tun_error + dp.counters.rx_forged
    dataplane_free(dp)
    free(out)
    if refused or not packets:
        raise RuntimeError(f"{refused} packets or frames were refused")
    return <double>took
