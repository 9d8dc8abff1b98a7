"""Keys of sites: fresh ones, and what a mesh need not store, as it is made of its secret."""

import hashlib
import os

from pywg.config.keys import clamp
from pywg.config.model import Prefix
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


def private_network(secret: bytes) -> Prefix:
    """A network of IPv6 that no other site has, as RFC 4193 wants it: 40 bits are random, as the secret is."""
    random = hashlib.blake2s(key=secret, person=b"pywg ula").digest()[:5]
    return b"\xfd" + random + bytes(10), 64
