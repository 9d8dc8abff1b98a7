"""How the key subcommands write a key."""

import os
import stat
import sys

from pywg.config.keys import format_key_base64
from pywg.errors import ConfigError


def write_key(key: bytes | bytearray, *, secret: bool) -> None:
    """Write a key's base64 text, and a newline, to standard output.

    Warns on standard error when a secret goes to a file that others may open. ConfigError: standard output is closed.
    """
    if not sys.stdout:
        raise ConfigError("standard output is closed")
    if secret and _is_world_accessible(sys.stdout.fileno()):
        print("pywg: warning: writing a secret to a file others may open; set the umask to 077 first", file=sys.stderr)
    sys.stdout.write(format_key_base64(key) + "\n")


def _is_world_accessible(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISREG(mode) and mode & stat.S_IRWXO != 0
