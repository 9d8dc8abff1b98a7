"""`pywg genkey`: a new private key, as `wg genkey` writes it."""

import os

from pywg.cli.write_key import write_key
from pywg.config.keys import clamp
from pywg.constants import KEY_LEN


def genkey() -> int:
    """Write a clamped random private key in base64 to standard output and return 0."""
    key = bytearray(os.urandom(KEY_LEN))
    clamp(key)
    write_key(key, secret=True)
    return 0
