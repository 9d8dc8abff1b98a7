"""A peer and its keypairs, as the threads see them.

Ownership: a field changes only under all gates (gate.pxd), with exceptions. A field marked TX or RX changes under a
sending or a receiving gate alone, or is handed from there to the thread that finishes slots. With several shards there
are several such gates: then TX fields change under `lock`, RX fields under `receive_lock`, which is not taken where
there is one shard. The activity fields, and when the control plane was last asked for something, are relaxed atomics.

Neither lock is held while another peer's, or a gate, is taken.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from pywg.dataplane.state.allowedips cimport AllowedOwner
from pywg.dataplane.state.replay cimport ReplayWindow
from pywg.dataplane.sys.atomic cimport load64, load8, store8
from pywg.dataplane.sys.clock cimport SECOND_NS, now_ns
from pywg.dataplane.sys.linux cimport pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock
from pywg.dataplane.wire.endpoint cimport Endpoint, same_endpoint
from pywg.dataplane.wire.limits cimport REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, STAGED_PACKETS
from pywg.dataplane.wire.wireguard cimport KEY_LEN, MAC_LEN

cdef enum:
    BATCH_DATAGRAMS = 64 * 64   # the most that one batch seals: runs times datagrams
    SHARDS_MAX = 8
    COUNTERS_TO_SPARE = SHARDS_MAX * (BATCH_DATAGRAMS + STAGED_PACKETS)     # see can_seal()

# Events of a peer for the control plane: bits of Peer.events.
cdef enum:
    EVENT_HANDSHAKE_WANTED = 1
    EVENT_REKEY_WANTED = 2
    EVENT_CONFIRMED = 4
    EVENT_ACTIVITY = 8
    EVENT_ROUTING_LOOP = 16


cdef struct Keypair:
    Peer *peer
    Keypair *next_of_peer
    uint8_t *keys               # secret arena: 32 bytes to seal with, 32 bytes to open with
    uint64_t birth_ns
    uint32_t local_index        # names it in what we receive
    uint32_t remote_index       # names it in what we send
    uint8_t initiator
    uint8_t expired             # never seals again: our static key has changed since
    uint64_t next_counter       # TX, and atomic: whether the keypair may still seal is asked without the lock
    ReplayWindow window         # RX


cdef struct StagedPacket:
    StagedPacket *next
    uint32_t len
    uint8_t data[1]


cdef struct Peer:
    AllowedOwner allowed        # first: the trie's owner pointer is the peer
    uint32_t id
    Keypair *sending            # atomic: the current keypair, or NULL; delivery sets it to one that gets confirmed
    Keypair *next               # RX, atomic: the responder's new one, until its first authentic packet
    Keypair *keypairs           # all of the peer's, linked by next_of_peer; each can open
    pthread_mutex_t lock
    Endpoint endpoint           # under lock: delivery moves it, senders read it; has_endpoint() needs no lock
    uint64_t held_until_ns      # under lock: until then delivery does not move it

    StagedPacket *staged_first  # TX, atomic: whether any packet waits is asked without the lock
    StagedPacket *staged_last   # TX
    uint32_t staged_count       # TX

    # Bytes and activity, in three places a cache line apart: the two directions write to their own in each batch, and
    # read what both share (peer_new). Relaxed atomics. Activity is in ns of CLOCK_BOOTTIME, 0 for "not"; core/timers.py
    # runs the protocol's timers by it.
    uint64_t tx_bytes
    uint64_t last_sent
    uint64_t last_data_sent

    uint32_t handshake_index    # of our handshake in flight
    bint has_handshake
    # The last handshake message to the peer, which one authentic cookie reply may answer: the first shard's receiving
    # gate, which alone admits replies, guards it.
    uint8_t cookie_key[KEY_LEN]  # no secret: it follows from the peer's public key
    bint cookie_due
    uint32_t sent_index         # the message's sender index
    uint8_t sent_mac1[MAC_LEN]

    uint64_t unanswered_since   # shared activity
    uint64_t keepalive_owed_since
    uint8_t activity_armed

    uint64_t handshake_asked_ns  # atomic: when HANDSHAKE_WANTED was last raised
    uint64_t send_rekey_asked_ns  # atomic
    uint64_t receive_rekey_asked_ns  # RX

    # The peer through which our messages to this one were last seen to go, and when; see routing_loop.pxd.
    Peer *through
    uint64_t through_seen_ns
    uint64_t through_epoch      # Shared.peers_freed at the time: if it has changed, `through` may be freed
    uint64_t loop_told_ns

    # Events for the control plane: guarded by the event queue's lock.
    Peer *next_with_events
    Peer *before_with_events
    uint32_t events
    uint32_t confirmed_index

    uint64_t rx_bytes           # relaxed; received bytes and activity
    uint64_t last_received
    pthread_mutex_t receive_lock


cdef inline const uint8_t *keypair_seal_key(const Keypair *keypair) noexcept nogil:
    return keypair.keys


cdef inline const uint8_t *keypair_open_key(const Keypair *keypair) noexcept nogil:
    return keypair.keys + KEY_LEN


cdef inline bint has_endpoint(const Peer *peer) noexcept nogil:
    """Whether the endpoint is known. Called for each packet, and so without the lock."""
    return load8(&peer.endpoint.ip_len) != 0


cdef inline void copy_endpoint(Peer *peer, const Endpoint *source) noexcept nogil:
    """Called with the lock."""
    memcpy(<uint8_t *>&peer.endpoint + 1, <const uint8_t *>source + 1, sizeof(Endpoint) - 1)
    store8(&peer.endpoint.ip_len, source.ip_len)        # the first byte, which is read without the lock


cdef inline void heard_from(Peer *peer, const Endpoint *source) noexcept nogil:
    """Roaming (paper section 6.5): the source of an authentic message becomes its peer's endpoint."""
    pthread_mutex_lock(&peer.lock)
    if not same_endpoint(&peer.endpoint, source) and (peer.held_until_ns == 0 or now_ns() >= peer.held_until_ns):
        copy_endpoint(peer, source)
    pthread_mutex_unlock(&peer.lock)


cdef inline void met_at(Peer *peer, const Endpoint *source, uint64_t held_until_ns) noexcept nogil:
    """The same of a handshake message; until that time, 0 for none, no transport message moves the peer."""
    pthread_mutex_lock(&peer.lock)
    peer.held_until_ns = held_until_ns
    if not same_endpoint(&peer.endpoint, source):
        copy_endpoint(peer, source)
    pthread_mutex_unlock(&peer.lock)


cdef inline void clear_source(Peer *peer) noexcept nogil:
    """Forgets the local address that the peer wrote to: the route decides again."""
    pthread_mutex_lock(&peer.lock)
    peer.endpoint.local_len = 0
    peer.endpoint.local_ifindex = 0
    memset(peer.endpoint.local_ip, 0, sizeof(peer.endpoint.local_ip))
    pthread_mutex_unlock(&peer.lock)


cdef inline bint can_seal(const Keypair *keypair, uint64_t now) noexcept nogil:
    """Whether a keypair may seal: Reject-After-Time and Reject-After-Messages (paper section 6.1).

    Checked before packets are planned, and not again before they are sealed. So what each shard may have planned by
    then, a batch and a peer's staged packets, is kept to spare.
    """
    return (keypair != NULL and now - keypair.birth_ns < REJECT_AFTER_TIME * SECOND_NS
            and load64(&keypair.next_counter) < REJECT_AFTER_MESSAGES - COUNTERS_TO_SPARE)
