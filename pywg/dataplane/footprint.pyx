"""The data plane's memory by its parts (footprint.pxd). Traffic alone never takes it above the ceiling."""
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts
from pywg.dataplane.crypto.secret cimport SECRET_SLOT_LEN
from pywg.dataplane.receive.coalesce cimport Coalescer, Frame, Member
from pywg.dataplane.receive.open cimport ReceiveBatch
from pywg.dataplane.receive.receive cimport ReceivePath
from pywg.dataplane.receive.writer cimport COALESCE_PACKETS
from pywg.dataplane.send.seal cimport RING_FRONT, RING_LEN, SEGMENTS_LEN, SendBatch
from pywg.dataplane.send.send cimport SendPath
from pywg.dataplane.state.allowedips cimport AllowedNode
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.events cimport MESSAGE_RING, Message
from pywg.dataplane.state.index_table cimport IndexEntry
from pywg.dataplane.state.peer cimport Keypair, Peer, StagedPacket
from pywg.dataplane.state.strays cimport STRAYS_MAX
from pywg.dataplane.udp.receive cimport RECEIVE_BATCH, RECEIVE_LEN, Receiver
from pywg.dataplane.udp.send cimport Sender
from pywg.dataplane.wire.limits cimport KEYPAIRS_PER_PEER, STAGED_PACKETS

cdef enum:
    INDICES_PER_PEER = 2 * KEYPAIRS_PER_PEER + 1  # ours and the peer's of each, and a handshake in flight
    SLOTS_PER_INDEX = 4             # a table that has just doubled is a quarter full
    NODES_PER_PREFIX = 2            # a fork in the trie, and the prefix
    ALLOCATION = 32                 # what malloc adds to an allocation at most: its header, and rounding up
    LIBCRYPTO_CTX = 1536            # a context of libcrypto, with its key: about 1,300 bytes in 3.0


cdef dict footprint_of(const Dataplane *dp, size_t peers, size_t slots, size_t threads, size_t lanes):
    """Bytes by name. `per_peer` and `per_allowed_ip` are for one more; `ceiling` is the whole as configured now.

    `slots`: batches of each direction. `lanes`: threads that may write to the TUN at a time. Not counted: the threads'
    stacks (each uses a few pages), the kernel's socket buffers, and Python.
    """
    cdef size_t send_slot = RING_FRONT + RING_LEN + SEGMENTS_LEN + sizeof(SendBatch)
    cdef size_t tx = slots * send_slot + dp.shared.shard_count * sizeof(SendPath) + sizeof(Sender)
    cdef size_t receive_slot = RECEIVE_BATCH * RECEIVE_LEN + sizeof(Receiver) + sizeof(ReceiveBatch)
    cdef size_t rx = slots * receive_slot + dp.shared.shard_count * sizeof(ReceivePath)
    cdef size_t workers = threads * (sizeof(AeadContexts) + 2 * LIBCRYPTO_CTX + ALLOCATION)
    cdef size_t coalescer = lanes * (sizeof(Coalescer) + COALESCE_PACKETS * (sizeof(Frame) + sizeof(Member)))
    cdef size_t handshakes = (MESSAGE_RING + STRAYS_MAX) * sizeof(Message)
    cdef size_t indices = INDICES_PER_PEER * SLOTS_PER_INDEX * sizeof(IndexEntry)
    cdef size_t keypair = sizeof(Keypair) + SECRET_SLOT_LEN + sizeof(void *) + ALLOCATION
    cdef size_t staged = STAGED_PACKETS * (sizeof(StagedPacket) + ALLOCATION)
    cdef size_t peer = sizeof(Peer) + ALLOCATION + KEYPAIRS_PER_PEER * keypair + staged
    cdef size_t slots_now = <size_t>dp.shared.indices.mask + dp.shared.remote_indices.mask + 2
    cdef size_t table = max(slots_now * sizeof(IndexEntry), peers * indices)
    cdef size_t prefixes = <size_t>dp.shared.allowed.capacity * sizeof(AllowedNode)
    return {
        "tx_buffers": tx,
        "rx_buffers": rx,
        "coalescer": coalescer,
        "workers": workers,
        "handshake_queue": handshakes,
        "staged_packets": <size_t>dp.shared.staged_max,
        "index_table": table,
        "peers": peers * peer,
        "allowed_ips": prefixes,
        "per_peer": peer + indices,
        "per_allowed_ip": NODES_PER_PREFIX * sizeof(AllowedNode),
        "ceiling": tx + rx + coalescer + workers + handshakes + dp.shared.staged_max + table + peers * peer + prefixes,
    }
