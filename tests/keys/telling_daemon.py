"""The daemon itself, with the command line of `pywg`, that tells every secret which it computes: `PIPE ARGUMENT...`.

Each goes to the descriptor PIPE when it is made: a byte for its kind, one for its length, the secret. The telling
leaves no copy behind.
"""

import os
import sys
from collections.abc import Callable

from pywg.cli.main import main
from pywg.core import crypto, handshake
from pywg.core.crypto import Key
from pywg.dataplane.crypto.secret import Secret

CHAINING, SESSION, EXTRACTED, DH, EPHEMERAL, COOKIE = b"H", b"S", b"X", b"D", b"E", b"c"


def tell(pipe: int, kind: bytes, secret: Key) -> None:
    """Writes one to the pipe, from where it is."""
    os.writev(pipe, [kind, b"%c" % len(secret), secret])


def telling(pipe: int) -> None:
    """Has every secret of the core told from now on."""
    hkdf, hmac, dh, xopen = crypto.hkdf, crypto.hmac, crypto.dh, crypto.xopen
    new_ephemeral = vars(handshake)["_new_ephemeral"]

    def told_hkdf(chaining_key: bytes, material: Key, outputs: int) -> list[bytes]:
        keys = hkdf(chaining_key, material, outputs)
        for key in keys:
            tell(pipe, CHAINING if len(material) else SESSION, key)
        return keys

    def told_hmac(key: bytes, data: Key) -> bytes:
        digest = hmac(key, data)
        tell(pipe, EXTRACTED, digest)
        return digest

    def told_dh(*keys: object) -> bytes | None:
        shared = dh(*keys)  # type: ignore[arg-type]
        if shared is not None:
            tell(pipe, DH, shared)
        return shared

    def told_ephemeral(random: Callable[[int], bytes]) -> tuple[Secret, object, bytes]:
        made: tuple[Secret, object, bytes] = new_ephemeral(random)
        tell(pipe, EPHEMERAL, made[0])
        return made

    def told_xopen(*arguments: bytes) -> bytes | None:
        plaintext = xopen(*arguments)
        if plaintext is not None:
            tell(pipe, COOKIE, plaintext)
        return plaintext

    vars(crypto).update(hkdf=told_hkdf, hmac=told_hmac, dh=told_dh, xopen=told_xopen)
    vars(handshake)["_new_ephemeral"] = told_ephemeral


if __name__ == "__main__":
    telling(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
