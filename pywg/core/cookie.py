"""The two MACs and the cookie: cheap proof that a message is for its receiver and, under load, of where its sender is.

Paper, sections 5.3, 5.4.4 and 5.4.7. `CookieJar`, one for each peer, is the sender's side. Of the receiver's side the
core has mac1 alone: the data plane decides which messages need a cookie and which have one
(dataplane/receive/admit.pxd).

A cookie reply is opened twice, and must be: the data plane opens it to keep forgeries from the control plane, and
hands on the datagram; the core opens that for the cookie. It relies on nothing that the plane has found.
"""

from pywg.constants import COOKIE_SECRET_MAX_AGE, MAC_LEN
from pywg.core import crypto, events
from pywg.core.messages import CookieReply
from pywg.dataplane.crypto.cookie_mac import cookie_key, mac1_key
from pywg.dataplane.crypto.secret import Secret
from pywg.errors import RemoteProtocolError

NO_MAC2 = bytes(MAC_LEN)


def mac1_holds(key: bytes, datagram: bytes) -> bool:
    """Whether mac1 of an initiation or response is right under `mac1_key` of ours: its sender knows our public key."""
    return crypto.same(crypto.keyed_mac(key, datagram[: -2 * MAC_LEN]), datagram[-2 * MAC_LEN : -MAC_LEN])


class CookieJar:
    """Adds the MACs to what we send one peer, with the cookie it sent us while that is fresh."""

    __slots__ = ("_cookie", "_cookie_key", "_last_mac1", "_mac1_key", "_received_at")

    def __init__(self, public_key: bytes) -> None:
        self._mac1_key = mac1_key(public_key)
        self._cookie_key = cookie_key(public_key)
        self._last_mac1: bytes | None = None
        self._cookie: Secret | None = None
        self._received_at = 0.0

    def add_macs(self, body: bytes, now: float) -> bytes:
        """The whole message: the body, mac1, and mac2 (zeros without a fresh cookie)."""
        self._last_mac1 = crypto.keyed_mac(self._mac1_key, body)
        message = body + self._last_mac1
        if self._cookie is None or now >= self._received_at + COOKIE_SECRET_MAX_AGE:
            self.forget()
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
        self.forget()
        self._cookie = Secret.take(cookie)
        self._received_at = now
        self._last_mac1 = None

    def forget(self) -> None:
        """Wipes the cookie."""
        if self._cookie is not None:
            self._cookie.wipe()
            self._cookie = None
