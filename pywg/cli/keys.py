"""`pywg genkey`, `genpsk` and `pubkey`: keys in the form in which wg(8) writes them under the same names."""

import os
import stat
import sys

from pywg.cli.color import open_output
from pywg.cli.parser import CommandParser
from pywg.config.keys import clamp, format_key_base64, parse_key_base64
from pywg.constants import KEY_LEN
from pywg.manage.public_key import public_key_of

_STDIN = 0
_MOST_INPUT = 4096


_GENKEY = """\
Writes a new private key, as `wg genkey` does. A file that others can't read:
  (umask 077 && pywg genkey >key)
"""


def define_genkey(parser: CommandParser) -> None:
    """Adds the command's arguments: none."""
    parser.description = _GENKEY
    parser.set_defaults(execute=lambda given: genkey())


def define_genpsk(parser: CommandParser) -> None:
    """Adds the command's arguments: none."""
    parser.description = "Writes a new preshared key, as `wg genpsk` does. Both ends have the same one."
    parser.set_defaults(execute=lambda given: genpsk())


def define_pubkey(parser: CommandParser) -> None:
    """Adds the command's arguments: none."""
    parser.description = "Reads a private key from standard input and writes its public key.\nAs `wg pubkey` does."
    parser.set_defaults(execute=lambda given: pubkey())


def genkey() -> int:
    """Write a clamped random private key in base64 to standard output and return 0."""
    key = bytearray(os.urandom(KEY_LEN))
    clamp(key)
    _write(key, secret=True)
    return 0


def genpsk() -> int:
    """Write 32 random bytes in base64 to standard output and return 0."""
    _write(os.urandom(KEY_LEN), secret=True)
    return 0


def pubkey() -> int:
    """Read a base64 private key from standard input, write its public key to standard output, and return 0.

    Space around the key is ignored. Raises ConfigError when the input is no key.
    """
    private_key = parse_key_base64(_read_input().strip(), "standard input")
    _write(public_key_of(private_key), secret=False)
    return 0


def _read_input() -> bytes:
    text = b""
    while len(text) <= _MOST_INPUT and (chunk := os.read(_STDIN, _MOST_INPUT)):
        text += chunk
    return text


def _write(key: bytes | bytearray, *, secret: bool) -> None:
    """Writes a key. Warns on standard error when a secret goes to a file that other users may open.

    Raises ConfigError when standard output is closed.
    """
    output = open_output()
    if secret and _is_world_accessible(output.fileno()):
        print("pywg: warning: writing a secret to a file others may open; set the umask to 077 first", file=sys.stderr)
    output.write(format_key_base64(key) + "\n")


def _is_world_accessible(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISREG(mode) and mode & stat.S_IRWXO != 0
