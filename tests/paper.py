"""The paper's numbers, typed again from the paper, so that tests check the paper and not the code.

"WireGuard: Next Generation Kernel Network Tunnel", sections 5.3, 5.4 and 6.1 to 6.7. Seconds where nothing else is
said.
"""

CONSTRUCTION = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER = "WireGuard v1 zx2c4 Jason@zx2c4.com"
LABEL_MAC1 = "mac1----"
LABEL_COOKIE = "cookie--"

# Section 6.1
REKEY_AFTER_MESSAGES = 1152921504606846976  # 2^60
REJECT_AFTER_MESSAGES = 18446744073709543423  # 2^64 - 2^13 - 1
REKEY_AFTER_TIME = 120
REJECT_AFTER_TIME = 180
REKEY_ATTEMPT_TIME = 90
REKEY_TIMEOUT = 5
KEEPALIVE_TIMEOUT = 10

# Section 6.2: a receiving initiator starts anew REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT after the start
RECEIVER_REKEY_TIME = 165
# Section 6.3: keys and handshake state are wiped
KEY_ZEROING_TIME = 540
# Section 6.5: KEEPALIVE_TIMEOUT + REKEY_TIMEOUT without an answer
NEW_HANDSHAKE_TIMEOUT = 15
# Section 6.4: the jitter; a third of a second in every implementation
REKEY_TIMEOUT_JITTER = 0.334

# Sections 5.4.7, 6.6: the responder's secret and the cookie
COOKIE_SECRET_MAX_AGE = 120

# Section 5.4: types and sizes
INITIATION = (1, 148)
RESPONSE = (2, 92)
COOKIE_REPLY = (3, 64)
TRANSPORT = (4, 16)

# Linux's messages.h and ratelimiter.c, for what the paper leaves open
INITIATIONS_PER_SECOND = 50
SOURCE_HANDSHAKES_PER_SECOND = 20
SOURCE_HANDSHAKES_BURST = 5
TAI64N_WHITENING_NS = 16_777_216
STAGED_PACKETS = 128
