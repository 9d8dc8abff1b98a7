"""The send path without the kernel: frames in the ring of a batch become sealed runs in the sender's queue."""
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from pywg.dataplane.crypto.aead cimport Aead, AeadBackend
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts, aead_contexts_free, aead_contexts_init
from pywg.dataplane.crypto.aead_select cimport aead_choose
from pywg.dataplane.send.seal cimport SendBatch, send_batch_free, send_batch_init, send_batch_next_frame
from pywg.dataplane.send.seal cimport send_batch_next_packet, send_batch_next_segments, send_batch_plan_frame
from pywg.dataplane.send.seal cimport send_batch_plan_packet, send_batch_reserve, send_batch_seal, send_batch_send
from pywg.dataplane.send.segment cimport segment_plan
from pywg.dataplane.send.send cimport RUNS_FOR_A_FRAME
from pywg.dataplane.state.dataplane cimport Dataplane, dataplane_free, dataplane_new, gates_enter, gates_leave
from pywg.dataplane.state.gate cimport gate_enter, gate_leave
from pywg.dataplane.state.peer cimport Keypair, Peer
from pywg.dataplane.state.peers cimport keypair_new, peer_free, peer_new
from pywg.dataplane.sys.clock cimport now_ns
from pywg.dataplane.udp.send cimport Transmit
from pywg.dataplane.wire.ip cimport IpView, ip_read
from pywg.dataplane.wire.run cimport Run
from pywg.dataplane.wire.virtio cimport VNET_GSO_NONE, VNET_HDR_LEN, VnetHdr
from pywg.dataplane.wire.wireguard cimport KEY_LEN

cdef enum:
    PEERS = 4


cdef struct Outward:
    Dataplane *dp
    SendBatch *batch
    AeadContexts contexts
    Peer *peers[PEERS]              # each with a keypair, whose key is all bytes of the peer's number


cdef int begin(Outward *o, str aead) except -1:
    """To be ended, also after an exception."""
    cdef uint8_t[KEY_LEN] key
    cdef Keypair *keypair
    cdef int i
    memset(o, 0, sizeof(Outward))
    aead_contexts_init(&o.contexts, aead_choose(aead))
    o.dp = dataplane_new(aead_choose(aead))
    o.batch = <SendBatch *>calloc(1, sizeof(SendBatch))
    if o.dp == NULL or o.batch == NULL or send_batch_init(o.batch) < 0:
        raise MemoryError
    for i in range(PEERS):
        memset(key, i, KEY_LEN)
        o.peers[i] = peer_new(<uint32_t>i)
        keypair = keypair_new(o.peers[i], key, key) if o.peers[i] != NULL else NULL
        if keypair == NULL:
            raise MemoryError
        keypair.remote_index = <uint32_t>i
        keypair.birth_ns = now_ns()
        o.peers[i].sending = keypair
    return 0


cdef void end(Outward *o) noexcept:
    cdef int i
    aead_contexts_free(&o.contexts)
    if o.batch != NULL:
        send_batch_free(o.batch)
    free(o.batch)
    if o.dp != NULL:
        gates_enter(o.dp)
        for i in range(PEERS):
            if o.peers[i] != NULL:
                peer_free(o.dp, o.peers[i])
        gates_leave(o.dp)
        dataplane_free(o.dp)


cdef bint plan(SendBatch *b, Peer *peer, const VnetHdr *hdr, const uint8_t *packet, uint32_t len,
               uint32_t mtu) noexcept nogil:
    """As when it is read. `packet` may be NULL: then what lies in the ring counts. False: no room, or malformed."""
    cdef Run runs[RUNS_FOR_A_FRAME]
    cdef IpView ip
    cdef uint32_t room
    cdef uint8_t *at = send_batch_next_packet(b, RUNS_FOR_A_FRAME)
    cdef uint8_t *out
    cdef int n
    if at == NULL:
        return False
    if packet != NULL:
        memcpy(at, packet, len)
    if hdr.gso_type == VNET_GSO_NONE:
        send_batch_plan_packet(b, peer, at, len, 0, mtu)
        return True
    ip_read(&ip, at, len)
    out = send_batch_next_segments(b, &room)
    n = segment_plan(send_batch_next_frame(b), hdr, VNET_HDR_LEN, &ip, mtu, out, room, runs, RUNS_FOR_A_FRAME)
    if n > 0:
        send_batch_plan_frame(b, peer, 0, runs, n)
    return n > 0


cdef VnetHdr header(bytes vnet_hdr) except *:
    cdef VnetHdr hdr
    memcpy(&hdr, PyBytes_AS_STRING(vnet_hdr[:VNET_HDR_LEN].ljust(VNET_HDR_LEN, b"\0")), VNET_HDR_LEN)
    return hdr


# ---- a cipher that fails

cdef const AeadBackend *whole = NULL    # the cipher itself
cdef int calls = 0
cdef int failing_call = -1


cdef bint seal_or_fail(const Aead *aead, uint64_t first_counter, uint8_t **texts, const uint32_t *lens,
                       int n) noexcept nogil:
    global calls
    calls += 1
    return calls - 1 != failing_call and whole.seal(aead, first_counter, texts, lens, n)


def seal_all(str aead, list frames, uint32_t mtu, int failing=-1):
    """Seals one batch of (peer 0..3, virtio header, packet), of which the `failing`-th call of the cipher fails.

    The runs that are queued, each as a list of its datagrams; runs that failed; calls of the cipher. ValueError: a
    frame finds no room, or is malformed.
    """
    global whole, calls, failing_call
    cdef Outward o
    cdef AeadBackend backend
    cdef VnetHdr hdr
    cdef Transmit *sent
    cdef int i
    try:
        begin(&o, aead)
        whole = aead_choose(aead)
        calls, failing_call = 0, failing
        backend = whole[0]
        backend.seal = seal_or_fail
        o.contexts.sealer.backend = &backend
        for peer, vnet_hdr, packet in frames:
            hdr = header(vnet_hdr)
            if not plan(o.batch, o.peers[peer], &hdr, <const uint8_t *>PyBytes_AS_STRING(packet),
                        <uint32_t>len(packet), mtu):
                raise ValueError("a frame that can't be planned")
        gate_enter(&o.dp.send_gate)
        send_batch_reserve(o.batch, o.dp, now_ns())
        gate_leave(&o.dp.send_gate)
        send_batch_seal(o.batch, o.dp, &o.contexts)
        queued = []
        for i in range(o.batch.sender.count):
            sent = &o.batch.sender.queue[i]
            data = sent.base[:sent.len]
            stride = sent.stride or sent.len
            queued.append([data[k:k + stride] for k in range(0, len(data), stride)])
        return queued, o.dp.counters.tx_seal_failed, calls
    finally:
        end(&o)


# ---- how long it takes

cdef bint one_batch(Outward *o, const VnetHdr *hdr, const uint8_t *packet, uint32_t len, uint32_t mtu,
                    int frames) noexcept nogil:
    cdef bint planned = True
    cdef int _i
    for _i in range(frames):
        planned = plan(o.batch, o.peers[0], hdr, packet, len, mtu)
    send_batch_reserve(o.batch, o.dp, o.peers[0].sending.birth_ns)
    send_batch_seal(o.batch, o.dp, &o.contexts)
    o.batch.sender.count = 0
    send_batch_send(o.batch, o.dp)
    return planned


def bench_superframe(str aead, bytes vnet_hdr: bytes, bytes packet: bytes, uint32_t mtu, uint32_t rounds,
                     int frames=2) -> float:
    """Nanoseconds a superframe of planning, cutting and sealing batches of `frames`, without the GIL."""
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(packet)
    cdef uint32_t packet_len = <uint32_t>len(packet)
    cdef VnetHdr hdr = header(vnet_hdr)
    cdef Outward o
    cdef uint64_t start = 0
    cdef uint32_t _i
    cdef bint planned
    try:
        begin(&o, aead)
        with nogil:
            gate_enter(&o.dp.send_gate)
            planned = one_batch(&o, &hdr, at, packet_len, mtu, frames)      # which fills the ring
            start = now_ns()
            for _i in range(rounds):
                one_batch(&o, &hdr, NULL, packet_len, mtu, frames)
            start = now_ns() - start
            gate_leave(&o.dp.send_gate)
    finally:
        end(&o)
    if not planned:
        raise ValueError("not a superframe that can be cut")
    return <double>start / (<uint64_t>rounds * frames)
