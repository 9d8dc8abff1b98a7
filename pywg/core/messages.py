"""The handshake's messages on the wire, by type: their fields. Paper, section 5.4; little-endian throughout.

The type is one byte followed by three reserved zero bytes: read as one 32-bit number, as Linux does, a message with a
non-zero reserved byte is of no known type. Transport data is the data plane's alone.
"""

from struct import Struct
from typing import Final, NamedTuple

from pywg.constants import (
    COOKIE_REPLY_LEN,
    INITIATION_LEN,
    MESSAGE_COOKIE_REPLY,
    MESSAGE_INITIATION,
    MESSAGE_RESPONSE,
    RESPONSE_LEN,
)

_INITIATION_BODY: Final = Struct("<II32s48s28s")
_RESPONSE_BODY: Final = Struct("<III32s16s")
_COOKIE_REPLY: Final = Struct("<II24s32s")
_TYPE: Final = Struct("<I")

MESSAGE_LEN: Final = {
    MESSAGE_INITIATION: INITIATION_LEN,
    MESSAGE_RESPONSE: RESPONSE_LEN,
    MESSAGE_COOKIE_REPLY: COOKIE_REPLY_LEN,
}


class Initiation(NamedTuple):
    """First message, initiator to responder, without its two MACs."""

    sender_index: int
    ephemeral: bytes
    """The initiator's ephemeral public key."""
    encrypted_static: bytes
    encrypted_timestamp: bytes

    def pack(self) -> bytes:
        """The 116 bytes that precede mac1 and mac2."""
        return _INITIATION_BODY.pack(MESSAGE_INITIATION, *self)

    @classmethod
    def unpack(cls, datagram: bytes) -> "Initiation":
        """Takes a datagram of INITIATION_LEN bytes apart."""
        return cls._make(_INITIATION_BODY.unpack_from(datagram)[1:])


class Response(NamedTuple):
    """Second message, responder to initiator, without its two MACs."""

    sender_index: int
    receiver_index: int
    ephemeral: bytes
    """The responder's ephemeral public key."""
    encrypted_nothing: bytes

    def pack(self) -> bytes:
        """The 60 bytes that precede mac1 and mac2."""
        return _RESPONSE_BODY.pack(MESSAGE_RESPONSE, *self)

    @classmethod
    def unpack(cls, datagram: bytes) -> "Response":
        """Takes a datagram of RESPONSE_LEN bytes apart."""
        return cls._make(_RESPONSE_BODY.unpack_from(datagram)[1:])


class CookieReply(NamedTuple):
    """What a responder under load sends in place of an answer."""

    receiver_index: int
    nonce: bytes
    encrypted_cookie: bytes

    @classmethod
    def unpack(cls, datagram: bytes) -> "CookieReply":
        """Takes a datagram of COOKIE_REPLY_LEN bytes apart."""
        return cls._make(_COOKIE_REPLY.unpack(datagram)[1:])


def message_type(datagram: bytes) -> int:
    """The type of a datagram of any length; 0, which no message has, when it is too short to tell."""
    return int.from_bytes(datagram[: _TYPE.size], "little") if len(datagram) >= _TYPE.size else 0
