"""The names of the counters, as the statistics show them."""

COUNTER_NAMES = (
    "tx_no_peer", "tx_malformed", "tx_unknown_gso", "tx_no_room", "tx_no_endpoint", "tx_staged_dropped",
    "tx_seal_failed", "tx_send_error", "tx_message_too_long", "tx_gso_refused", "tx_source_cleared", "tx_packets",
    "tx_datagrams", "tx_sends",
    "rx_malformed", "rx_truncated", "rx_bad_mac1", "rx_unknown_index", "rx_expired", "rx_replayed", "rx_forged",
    "rx_source_not_allowed", "rx_not_ip", "rx_queue_full", "rx_receive_error", "rx_keepalives", "rx_packets",
    "rx_datagrams", "rx_receives", "rx_tun_error", "rx_tun_writes", "tx_tun_error",
    "tx_unreachable_sent", "rx_under_load", "tx_routing_loop",
    "tx_shared", "rx_shared", "tx_lent", "tx_returned",
    "tx_cookie_replies", "rx_source_limited", "rx_bad_cookie_reply", "rx_handshakes",
    "tx_wait_error", "rx_wait_error",
)
assert len(COUNTER_NAMES) == COUNTERS
