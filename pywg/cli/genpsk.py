"""`pywg genpsk`: a new preshared key, as `wg genpsk` writes it."""

import os

from pywg.cli.write_key import write_key
from pywg.constants import KEY_LEN


def genpsk() -> int:
    """Write 32 random bytes in base64 to standard output and return 0."""
    write_key(os.urandom(KEY_LEN), secret=True)
    return 0
