"""Counters of what happened to packets: the one list of them, shared by all threads (relaxed adds).

A counter is one line here. The statistics show it by the name that it has here.
"""
from libc.stdint cimport uint64_t
from pywg.dataplane.sys.atomic cimport add64

cdef struct Counters:
    # Sending: frames of the TUN, which are packets or superframes, and datagrams
    uint64_t tx_packets             # frames that the TUN gave
    uint64_t tx_no_peer             # frames to an address that no peer has
    uint64_t tx_no_endpoint         # frames to a peer whose endpoint is not known
    uint64_t tx_unreachable_sent    # ICMP errors to their senders,
    uint64_t tx_unreachable_error   # and refused calls for them: the raw socket's, and the TUN's that is tried next
    uint64_t tx_malformed           # frames that are no IP packet, or whose offload does not fit them
    uint64_t tx_unknown_gso         # superframes of an unknown kind
    uint64_t tx_no_room             # frames, or groups of datagrams, that did not fit into a batch
    uint64_t tx_routing_loop        # frames that are the tunnel's own datagrams
    uint64_t tx_staged_dropped      # packets that waited for a keypair: no session came, or there was no room for all
    uint64_t tx_seal_failed         # runs of packets that libcrypto did not seal
    uint64_t tx_datagrams           # sent
    uint64_t tx_sends               # system calls for them
    uint64_t tx_send_error          # refused sends
    uint64_t tx_message_too_long    # sends above the path's MTU
    uint64_t tx_gso_refused         # sends that the kernel does not segment, and whose datagrams went singly
    uint64_t tx_source_cleared      # sends whose local address was gone, and that went from another
    uint64_t tx_cookie_replies
    uint64_t tx_tun_error           # failed reads
    uint64_t tx_wait_error          # failed poll()
    uint64_t tx_shared              # batches that were left to any free thread
    uint64_t tx_turns               # batches whose thread waited for its turn to send them,
    uint64_t tx_turns_late          # and that had to go otherwise: for a while there are no turns
    uint64_t tx_lent                # times that sending was handed off to the receiving thread,
    uint64_t tx_returned            # and taken back
    # Receiving: messages of the sockets, the datagrams in them, and frames for the TUN
    uint64_t rx_datagrams
    uint64_t rx_receives            # system calls for them
    uint64_t rx_receive_error       # failed ones
    uint64_t rx_truncated           # messages longer than a receive buffer
    uint64_t rx_malformed           # datagrams that have no message's type and length
    uint64_t rx_unknown_index       # messages to an index that no keypair and no handshake has
    uint64_t rx_queue_full          # messages that found no room: in a batch, or on the way to the control plane
    uint64_t rx_bad_mac1            # handshake messages by a sender that does not know our public key
    uint64_t rx_under_load          # handshake messages without a valid MAC2 that got no cookie reply
    uint64_t rx_source_limited      # handshake messages above the rate of their source
    uint64_t rx_bad_cookie_reply    # cookie replies that are not authentic, or that answer nothing
    uint64_t rx_other_shard         # handshake messages that came to another shard: no room on the way to the first
    uint64_t rx_handshakes          # messages that went on to the control plane
    uint64_t rx_expired             # data under a keypair past Reject-After-Time
    uint64_t rx_forged              # data that is not authentic
    uint64_t rx_replayed            # data that came before, or is too old for the window to know
    uint64_t rx_keepalives
    uint64_t rx_not_ip              # authentic data that is no IP packet
    uint64_t rx_source_not_allowed  # packets from an inner address that is not their peer's
    uint64_t rx_packets             # packets that went on to the TUN
    uint64_t rx_tun_writes          # frames written
    uint64_t rx_tun_error           # failed writes
    uint64_t rx_wait_error          # failed poll()
    uint64_t rx_shared              # batches that were left to any free thread


cdef inline void count(uint64_t *counter, uint64_t n=1) noexcept nogil:
    add64(counter, n)
