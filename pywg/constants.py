"""The numbers and labels of WireGuard that the control plane reads, by the paper's names.

Source: "WireGuard: Next Generation Kernel Network Tunnel" (Donenfeld, 2020), sections 5.4 (messages) and 6 (timers),
and, where the paper leaves a number to the implementation, the Linux kernel's drivers/net/wireguard/messages.h.
Durations are seconds. What the data plane reads as well has its home there.
"""

from typing import Final

from pywg.dataplane.wire import limits

CONSTRUCTION: Final = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER: Final = b"WireGuard v1 zx2c4 Jason@zx2c4.com"

MESSAGE_INITIATION: Final = limits.MESSAGE_INITIATION
MESSAGE_RESPONSE: Final = limits.MESSAGE_RESPONSE
MESSAGE_COOKIE_REPLY: Final = limits.MESSAGE_COOKIE_REPLY
INITIATION_LEN: Final = limits.INITIATION_LEN
RESPONSE_LEN: Final = limits.RESPONSE_LEN
COOKIE_REPLY_LEN: Final = limits.COOKIE_REPLY_LEN
MAC_LEN: Final = limits.MAC_LEN
KEY_LEN: Final = limits.KEY_LEN
"""Bytes of an X25519 key, a transport key, a pre-shared key and a BLAKE2s-256 hash."""

REJECT_AFTER_TIME: Final = limits.REJECT_AFTER_TIME
REKEY_TIMEOUT: Final = limits.REKEY_TIMEOUT
KEEPALIVE_TIMEOUT: Final = limits.KEEPALIVE_TIMEOUT
REKEY_ATTEMPT_TIME: Final = 90

REKEY_TIMEOUT_JITTER: Final = 0.334
"""Most that is added at random to REKEY_TIMEOUT before an initiation is sent again: two that collide won't for ever."""
CROSSED_WAIT: Final = REKEY_TIMEOUT / 2
"""Added to REKEY_TIMEOUT by an end that has responded although it tried, too: more than a message takes on any link."""
ANSWERED_WAIT: Final = 2 * REKEY_TIMEOUT_JITTER
"""Added to REKEY_TIMEOUT by an end that has responded: as much as the other's jitter, and what ways differ by."""
MAX_HANDSHAKE_ATTEMPTS: Final = REKEY_ATTEMPT_TIME // REKEY_TIMEOUT
"""Initiations sent without an answer before giving up."""
NEW_HANDSHAKE_TIMEOUT: Final = KEEPALIVE_TIMEOUT + REKEY_TIMEOUT
"""Data sent and nothing authentic received for so long starts a new handshake (section 6.5)."""
KEY_ZEROING_TIME: Final = 3 * REJECT_AFTER_TIME
"""Without a new session for so long, all key material of a peer is wiped (section 6.3)."""

COOKIE_SECRET_MAX_AGE: Final = limits.COOKIE_SECRET_MAX_AGE
"""A received cookie is used for no longer (section 5.4.7)."""
INITIATIONS_PER_SECOND: Final = 50
"""Authentic initiations of one peer that are answered: one per 20 ms."""
TAI64N_WHITENING_NS: Final = 2**24
"""Granularity of the timestamps we send: ~16.8 ms, as fine as one initiation per 20 ms needs and no finer."""
