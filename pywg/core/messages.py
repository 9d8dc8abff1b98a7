"""The four messages on the wire: their types, sizes and fields. Paper, section 5.4; little-endian throughout.

The type is one byte followed by three reserved zero bytes: read as one 32-bit number, as Linux does, a message with a
non-zero reserved byte is of no known type. Transport data (type 4) is named here and carried by the data plane.
"""

from struct import Struct
from typing import Final, NamedTuple

HANDSHAKE_INITIATION: Final = 1
HANDSHAKE_RESPONSE: Final = 2
COOKIE_REPLY: Final = 3
TRANSPORT_DATA: Final = 4

MAC_LEN: Final = 16
TAG_LEN: Final = 16
"""Bytes that ChaCha20-Poly1305 adds to what it seals."""

_INITIATION_BODY: Final = Struct("<II32s48s28s")
_RESPONSE_BODY: Final = Struct("<III32s16s")
_COOKIE_REPLY: Final = Struct("<II24s32s")
_TYPE: Final = Struct("<I")

INITIATION_LEN: Final = _INITIATION_BODY.size + 2 * MAC_LEN
RESPONSE_LEN: Final = _RESPONSE_BODY.size + 2 * MAC_LEN
COOKIE_REPLY_LEN: Final = _COOKIE_REPLY.size
TRANSPORT_HEADER_LEN: Final = 16
"""type, receiver_index, 64-bit counter; then the sealed packet."""

MESSAGE_LEN: Final = {
    HANDSHAKE_INITIATION: INITIATION_LEN,
    HANDSHAKE_RESPONSE: RESPONSE_LEN,
    COOKIE_REPLY: COOKIE_REPLY_LEN,
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
        return _INITIATION_BODY.pack(HANDSHAKE_INITIATION, *self)

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
        return _RESPONSE_BODY.pack(HANDSHAKE_RESPONSE, *self)

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
