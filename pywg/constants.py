"""The numbers and labels of WireGuard, by the paper's names.

Source: "WireGuard: Next Generation Kernel Network Tunnel" (Donenfeld, 2020), sections 5.4 (messages) and 6 (timers),
and, where the paper leaves a number to the implementation, the Linux kernel's drivers/net/wireguard/messages.h.
Durations are seconds.
"""

from typing import Final

CONSTRUCTION: Final = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER: Final = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
LABEL_MAC1: Final = b"mac1----"
LABEL_COOKIE: Final = b"cookie--"

KEY_LEN: Final = 32
"""Bytes of an X25519 key, a transport key, a pre-shared key and a BLAKE2s-256 hash."""
COOKIE_LEN: Final = 16

REKEY_AFTER_MESSAGES: Final = 2**60
REJECT_AFTER_MESSAGES: Final = 2**64 - 2**13 - 1
REKEY_AFTER_TIME: Final = 120.0
REJECT_AFTER_TIME: Final = 180.0
REKEY_ATTEMPT_TIME: Final = 90.0
REKEY_TIMEOUT: Final = 5.0
KEEPALIVE_TIMEOUT: Final = 10.0

REKEY_TIMEOUT_JITTER: Final = 0.334
"""Most that is added at random to REKEY_TIMEOUT before an initiation is sent again: two that collide won't for ever."""
MAX_HANDSHAKE_ATTEMPTS: Final = int(REKEY_ATTEMPT_TIME / REKEY_TIMEOUT)
"""Initiations sent without an answer before giving up."""
NEW_HANDSHAKE_TIMEOUT: Final = KEEPALIVE_TIMEOUT + REKEY_TIMEOUT
"""Data sent and nothing authentic received for so long starts a new handshake (section 6.5)."""
RECEIVER_REKEY_TIME: Final = REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT
"""Age at which the initiator of a session that only receives starts the next one (section 6.2)."""
KEY_ZEROING_TIME: Final = 3 * REJECT_AFTER_TIME
"""Without a new session for so long, all key material of a peer is wiped (section 6.3)."""

COOKIE_SECRET_MAX_AGE: Final = 120.0
"""A cookie secret is believed for so long, and a received cookie is used for no longer (section 5.4.7)."""
COOKIE_SECRET_RENEWAL: Final = 110.0
"""New cookies are made with a new secret after so long: the last one of the old outlives the sender's next try."""
INITIATIONS_PER_SECOND: Final = 50
"""Authentic initiations of one peer that are answered: one per 20 ms."""
SOURCE_HANDSHAKES_PER_SECOND: Final = 20
SOURCE_HANDSHAKES_BURST: Final = 5
STAGED_PACKETS: Final = 128
"""Packets of one peer that wait for a session; the oldest goes first when there are more."""
TAI64N_WHITENING_NS: Final = 2**24
"""Granularity of the timestamps we send: ~16.8 ms, as fine as one initiation per 20 ms needs and no finer."""
