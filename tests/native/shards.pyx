"""Two shards without threads: what each does is a call, which says when its batch began."""
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from pywg.dataplane.crypto.aead_select cimport aead_choose
from pywg.dataplane.receive.receive cimport ReceivePath, receive_path_free, receive_path_new, receive_step
from pywg.dataplane.send.routing_loop cimport routing_loop_closes
from pywg.dataplane.send.seal cimport SendBatch, send_batch_free, send_batch_init, send_batch_next_packet
from pywg.dataplane.send.seal cimport send_batch_plan_packet, send_batch_reserve, send_batch_send
from pywg.dataplane.state.dataplane cimport Dataplane, dataplane_add_shard, dataplane_free, dataplane_new, gates_enter
from pywg.dataplane.state.dataplane cimport gates_leave
from pywg.dataplane.state.events cimport Message, events_take
from pywg.dataplane.state.gate cimport gate_enter, gate_leave
from pywg.dataplane.state.peer cimport EVENT_REKEY_WANTED, Keypair, Peer
from pywg.dataplane.state.peers cimport keypair_free, keypair_new, keypair_publish, peer_free, peer_new
from pywg.dataplane.state.strays cimport STRAYS_MAX, Strays, strays_any, strays_destroy, strays_init, strays_put
from pywg.dataplane.state.strays cimport strays_take
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.sys.linux cimport htons
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.ip cimport IpView, ip_read
from pywg.dataplane.wire.limits cimport REKEY_AFTER_TIME
from pywg.dataplane.wire.wireguard cimport KEY_LEN

cdef enum:
    PEERS = 2
    PORT = 51820
    PACKET_LEN = 20 + 8 + 32            # IPv4, UDP, and a transport message
    INNER_LEN = 64
    NOW_S = 1000000

ROOM_FOR_STRAYS = STRAYS_MAX


cdef struct Two:
    Dataplane *dp[2]
    Peer *peers[PEERS]                  # at 192.0.2.<number>, with a session that is to be renewed


cdef int begin(Two *two) except -1:
    """To be ended, also after an exception."""
    cdef uint8_t[KEY_LEN] key
    cdef Keypair *keypair
    cdef int i
    cdef bint failed
    memset(two, 0, sizeof(Two))
    memset(key, 7, KEY_LEN)
    two.dp[0] = dataplane_new(aead_choose("auto"))
    two.dp[1] = dataplane_add_shard(two.dp[0]) if two.dp[0] != NULL else NULL
    if two.dp[1] == NULL:
        raise MemoryError
    for i in range(PEERS):
        two.peers[i] = peer_new(i)
        keypair = keypair_new(two.peers[i], key, key) if two.peers[i] != NULL else NULL
        if keypair == NULL:
            raise MemoryError
        keypair.local_index = keypair.remote_index = i + 1
        keypair.birth_ns = (NOW_S - REKEY_AFTER_TIME - 1) * SECOND_NS
        keypair.initiator = True
        two.peers[i].endpoint.ip_len = 4
        two.peers[i].endpoint.port = htons(PORT)
        set_address(two.peers[i].endpoint.ip, i)
        gates_enter(two.dp[0])
        failed = keypair_publish(two.dp[0], keypair, True) < 0
        gates_leave(two.dp[0])
        if failed:
            keypair_free(keypair)
            raise MemoryError
        two.peers[i].sending = keypair
    return 0


cdef void end(Two *two) noexcept:
    cdef int i
    if two.dp[0] == NULL:
        return
    gates_enter(two.dp[0])
    for i in range(PEERS):
        if two.peers[i] != NULL:
            peer_free(two.dp[0], two.peers[i])
    gates_leave(two.dp[0])
    dataplane_free(two.dp[0])


cdef void set_address(uint8_t *ip, uint32_t peer) noexcept nogil:
    ip[0], ip[1], ip[2], ip[3] = 192, 0, 2, <uint8_t>peer


# ---- out

cdef bint message_goes(Two *two, int shard, uint32_t to, int through, uint64_t now) noexcept nogil:
    """Peer `to`'s message comes through the TUN, for peer `through`. Whether that closes a loop."""
    cdef uint8_t[PACKET_LEN] packet
    cdef IpView ip
    cdef bint closes
    memset(packet, 0, PACKET_LEN)
    packet[0] = 0x45
    packet[3] = PACKET_LEN
    packet[8] = 64
    packet[9] = 17
    set_address(&packet[16], to)
    packet[22], packet[23] = PORT >> 8, PORT & 255
    packet[25] = PACKET_LEN - 20
    packet[28] = 4
    packet[32] = <uint8_t>(to + 1)
    ip_read(&ip, packet, PACKET_LEN)
    gate_enter(&two.dp[shard].send_gate)
    closes = routing_loop_closes(two.dp[shard], two.peers[through], &ip, now)
    gate_leave(&two.dp[shard].send_gate)
    return closes


def loop_is_seen(int64_t earlier_ns) -> bool:
    """Of peer 1, which is reached through peer 0, and that through 1.

    One shard sees the first step, and the other the second, in a batch that began so much earlier.
    """
    cdef Two two
    try:
        begin(&two)
        message_goes(&two, 1, 1, 0, NOW_S * SECOND_NS)
        return message_goes(&two, 0, 0, 1, NOW_S * SECOND_NS - <uint64_t>earlier_ns)
    finally:
        end(&two)


cdef bint asks(Two *two, int shard, SendBatch *batch, uint64_t now) noexcept nogil:
    """Sends a packet. Whether a new session is wanted now."""
    cdef uint32_t flags = 0, index
    cdef uint8_t *packet = send_batch_next_packet(batch, 1)
    memset(packet, 0, INNER_LEN)
    send_batch_plan_packet(batch, two.peers[0], packet, INNER_LEN, 0, 1420)
    gate_enter(&two.dp[shard].send_gate)
    send_batch_reserve(batch, two.dp[shard], now)
    gate_leave(&two.dp[shard].send_gate)
    send_batch_send(batch, two.dp[shard])       # nothing is queued: it is only emptied
    events_take(&two.dp[shard].shared.events, &flags, &index)
    return flags & EVENT_REKEY_WANTED != 0


def asks_again(int64_t earlier_ns) -> bool:
    """Whether a shard asks for a new session that the other one has asked for in a batch that began so much later."""
    cdef Two two
    cdef SendBatch *batch = <SendBatch *>calloc(1, sizeof(SendBatch))
    if batch == NULL or send_batch_init(batch) < 0:
        raise MemoryError
    try:
        begin(&two)
        if not asks(&two, 1, batch, NOW_S * SECOND_NS):
            raise RuntimeError("the first did not ask")
        return asks(&two, 0, batch, NOW_S * SECOND_NS - <uint64_t>earlier_ns)
    finally:
        end(&two)
        send_batch_free(batch)
        free(batch)


# ---- in

def receives_from(int fd, bint its_own) -> int:
    """How many datagrams the second shard takes from a socket, of which its last poll() has told that it has any."""
    cdef Two two
    cdef ReceivePath *path = NULL
    try:
        begin(&two)
        path = receive_path_new(two.dp[1], 1, 0)
        if path == NULL:
            raise MemoryError
        two.dp[1].fd4 = fd
        two.dp[1].receives = its_own
        path.ready4 = True
        gate_enter(&two.dp[1].receive_gate)
        receive_step(path)
        gate_leave(&two.dp[1].receive_gate)
        return two.dp[1].counters.rx_datagrams
    finally:
        receive_path_free(path)
        end(&two)


def leave_strays(list messages, int kick) -> tuple[int, list[bytes]]:
    """How many of the messages find room, and what is taken then. `kick`: an eventfd."""
    cdef Strays *strays = <Strays *>calloc(1, sizeof(Strays))
    cdef Message *taken = <Message *>calloc(STRAYS_MAX, sizeof(Message))
    cdef Endpoint source
    cdef int i, count, left = 0
    cdef list found = []
    if strays == NULL or taken == NULL:
        raise MemoryError
    memset(&source, 0, sizeof(source))
    strays_init(strays)
    for message in messages:
        left += strays_put(strays, &source, <const uint8_t *>PyBytes_AS_STRING(message), <uint32_t>len(message), kick)
    count = strays_take(strays, taken)
    for i in range(count):
        found.append(taken[i].data[:taken[i].len])
    if strays_any(strays) or strays_take(strays, taken) != 0:
        raise RuntimeError("some are left")
    strays_destroy(strays)
    free(strays)
    free(taken)
    return left, found
