"""Keys of sites: fresh ones, and preshared keys that a mesh need not store."""

import hashlib
import os

from pywg.config.keys import clamp
from pywg.constants import KEY_LEN
from pywg.manage.public_key import public_key_of
from pywg.manage.sites.site import Site


def give_key(site: Site, private_key: bytes = b"") -> None:
    """Gives a site its keys, by default fresh ones."""
    key = bytearray(private_key or os.urandom(KEY_LEN))
    clamp(key)
    site.private_key = bytes(key)
    site.public_key = public_key_of(site.private_key)


def pair_key(secret: bytes, one: Site, other: Site) -> bytes:
    """The preshared key of a pair: BLAKE2s, keyed with the mesh's secret, of both public keys."""
    keys = sorted((one.public_key, other.public_key))
    return hashlib.blake2s(b"".join(keys), key=secret, person=b"pywg psk").digest()
