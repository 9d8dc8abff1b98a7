"""`pywg pubkey`: the public key of a private key, as `wg pubkey` writes it."""

import os

from pywg.cli.write_key import write_key
from pywg.config.keys import parse_key_base64

_STDIN = 0
_MOST_INPUT = 4096


def pubkey() -> int:
    """Read a base64 private key from standard input, write its public key to standard output, and return 0.

    ConfigError: what was read is no key. Space around it doesn't matter.
    """
    private_key = parse_key_base64(_read_input().strip(), "standard input")
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    write_key(X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw(), secret=False)
    return 0


def _read_input() -> bytes:
    text = b""
    while len(text) <= _MOST_INPUT:
        chunk = os.read(_STDIN, _MOST_INPUT)
        if not chunk:
            break
        text += chunk
    return text
