"""The two MACs and the cookies: cheap proof that a message is for us and, under load, of where its sender is.

Paper, sections 5.3, 5.4.4 and 5.4.7. `CookieChecker` is the receiving side, one for our static key; `CookieJar` is
the sending side, one for each peer. A cookie is a MAC of the sender's address and port under a secret that is believed
for two minutes, so a responder keeps nothing for those who ask.
"""

from collections.abc import Callable
from typing import NamedTuple

from pywg._native.secret import Secret
from pywg.constants import COOKIE_LEN, COOKIE_SECRET_MAX_AGE, COOKIE_SECRET_RENEWAL, KEY_LEN, LABEL_COOKIE, LABEL_MAC1
from pywg.core import crypto, events
from pywg.core.events import Endpoint
from pywg.core.messages import COOKIE_NONCE_LEN, MAC_LEN, CookieReply, sender_index
from pywg.errors import RemoteProtocolError

NO_MAC2 = bytes(MAC_LEN)


def mac1_key(public_key: bytes) -> bytes:
    """The key of mac1 in messages to the holder of `public_key`. Not a secret: whoever knows the public key has it."""
    return crypto.blake2s_hash(LABEL_MAC1 + public_key)


def cookie_key(public_key: bytes) -> bytes:
    """The key that cookies from the holder of `public_key` are sealed with. As public as the public key."""
    return crypto.blake2s_hash(LABEL_COOKIE + public_key)


class _CookieSecret(NamedTuple):
    secret: Secret
    born: float


class CookieChecker:
    """Verifies the MACs of initiations and responses to us, and makes cookie replies."""

    def __init__(self, public_key: bytes, random: Callable[[int], bytes]) -> None:
        self._mac1_key = mac1_key(public_key)
        self._cookie_key = cookie_key(public_key)
        self._random = random
        self._secrets: list[_CookieSecret] = []  # what makes cookies now, then the one before

    def valid_mac1(self, datagram: bytes) -> bool:
        """Whether mac1 is right: the sender knows our public key."""
        expected = crypto.keyed_mac(self._mac1_key, datagram[: -2 * MAC_LEN])
        return crypto.same(expected, datagram[-2 * MAC_LEN : -MAC_LEN])

    def valid_mac2(self, datagram: bytes, source: Endpoint, now: float) -> bool:
        """Whether mac2 is right: the sender receives what is sent to `source`, as it got a cookie there lately."""
        for secret, born in self._secrets:
            if now < born + COOKIE_SECRET_MAX_AGE:
                expected = crypto.keyed_mac(_cookie(secret, source), datagram[:-MAC_LEN])
                if crypto.same(expected, datagram[-MAC_LEN:]):
                    return True
        return False

    def make_reply(self, datagram: bytes, source: Endpoint, now: float) -> bytes:
        """The cookie reply to an initiation or response: good for one sender, and readable to who sent its mac1."""
        nonce = self._random(COOKIE_NONCE_LEN)
        mac1 = datagram[-2 * MAC_LEN : -MAC_LEN]
        encrypted = crypto.xseal(self._cookie_key, nonce, _cookie(self._making_secret(now), source), mac1)
        return CookieReply(sender_index(datagram), nonce, encrypted).pack()

    def _making_secret(self, now: float) -> Secret:
        if not self._secrets or now >= self._secrets[0].born + COOKIE_SECRET_RENEWAL:
            self._secrets = [_CookieSecret(Secret.take(self._random(KEY_LEN)), now), *self._secrets[:1]]
        return self._secrets[0].secret


def _cookie(secret: Secret, source: Endpoint) -> bytes:
    return crypto.keyed_mac(secret, source.ip + source.port.to_bytes(2, "big"), COOKIE_LEN)


class CookieJar:
    """Adds the MACs to what we send one peer, with the cookie it sent us while that is fresh."""

    __slots__ = ("_cookie", "_cookie_key", "_last_mac1", "_mac1_key", "_received_at")

    def __init__(self, public_key: bytes) -> None:
        self._mac1_key = mac1_key(public_key)
        self._cookie_key = cookie_key(public_key)
        self._last_mac1: bytes | None = None
        self._cookie: bytes | None = None
        self._received_at = 0.0

    def add_macs(self, body: bytes, now: float) -> bytes:
        """The whole message: the body, mac1, and mac2 (zeros without a fresh cookie)."""
        self._last_mac1 = crypto.keyed_mac(self._mac1_key, body)
        message = body + self._last_mac1
        if self._cookie is None or now >= self._received_at + COOKIE_SECRET_MAX_AGE:
            self._cookie = None
            return message + NO_MAC2
        return message + crypto.keyed_mac(self._cookie, message)

    def consume_reply(self, reply: CookieReply, now: float) -> None:
        """Takes the cookie out of a reply to the last message sent; one reply a message.

        Raises RemoteProtocolError when nothing was sent that it could answer, or it does not open.
        """
        if self._last_mac1 is None:
            raise RemoteProtocolError(events.BAD_COOKIE_REPLY)
        cookie = crypto.xopen(self._cookie_key, reply.nonce, reply.encrypted_cookie, self._last_mac1)
        if cookie is None:
            raise RemoteProtocolError(events.BAD_COOKIE_REPLY)
        self._cookie = cookie
        self._received_at = now
        self._last_mac1 = None
