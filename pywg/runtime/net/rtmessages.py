"""The four messages of rtnetlink(7) that a daemon asks with: their layouts, from bytes and to bytes.

A library that knows all messages costs a small daemon more memory than its packets do, and more time than its start.
Numbers are in this machine's order, as everywhere in netlink: include/uapi/linux/if_link.h, rtnetlink.h, if_addr.h,
net_namespace.h.
"""

import errno
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length with these four bytes, type
_TYPE_MASK = 0x3FFF
"""Without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""
_NLM_F_REQUEST = 1
_NUMBER = struct.Struct("=I")


def _number(value: object) -> bytes:
    assert isinstance(value, int)
    return _NUMBER.pack(value)


def _name(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value + b"\0"


def _address(value: object) -> bytes:
    assert isinstance(value, str)
    return socket.inet_pton(socket.AF_INET6 if ":" in value else socket.AF_INET, value)


def _raw(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value


def _text(value: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET6 if len(value) == 16 else socket.AF_INET, value)


_DECODERS: dict[Callable[[object], bytes], Callable[[bytes], Any]] = {
    _number: lambda value: _NUMBER.unpack(value)[0],
    _name: lambda value: value.rstrip(b"\0"),
    _address: _text,
    _raw: bytes,
}


def attributes_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes that these bytes are, each with its number. Raises struct.error, ValueError when they are none."""
    at = 0
    while at < len(data):
        size, number = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size or at + size > len(data):
            raise ValueError(f"an attribute of {size} bytes where {len(data) - at} are left")
        yield number & _TYPE_MASK, data[at + _ATTRIBUTE.size : at + size]
        at += (size + 3) & ~3


class Message(dict[str, Any]):
    """The fixed fields by their names; `attributes` by theirs: numbers, names as bytes, addresses as text."""

    kind: int
    """RTM_..."""
    attributes: dict[str, Any]

    def get_attr(self, name: str) -> Any:
        """None where the message has no such attribute."""
        return self.attributes.get(name)


class Form:
    """The layout of one kind of message. Has the two methods by which netlink.Questions asks."""

    def __init__(
        self, layout: str, fields: tuple[str, ...], attributes: Mapping[str, tuple[int, Callable[[object], bytes]]]
    ) -> None:
        self._fixed = struct.Struct(layout)
        self._fields = fields
        self._attributes = attributes
        self._names = {number: (name, _DECODERS[encode]) for name, (number, encode) in attributes.items()}

    def encode(self, kind: int, fields: Mapping[str, int], attributes: Mapping[str, object]) -> bytearray:
        """A question of type `kind`, with its attributes in the order given."""
        body = bytearray(self._fixed.pack(*(fields.get(name, 0) for name in self._fields)))
        for name, value in attributes.items():
            number, encode = self._attributes[name]
            data = encode(value)
            body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), number) + data + bytes(-len(data) % 4)
        return bytearray(_HEADER.pack(_HEADER.size + len(body), kind, _NLM_F_REQUEST, 0, 0)) + body

    def decode(self, data: bytes) -> Message:
        """Of several attributes with one name the first. Raises OSError EPROTO when `data` is no such message."""
        try:
            return self._decode(data)
        except (struct.error, ValueError, OSError) as error:
            raise OSError(errno.EPROTO, f"an rtnetlink message that can't be read: {error}") from error

    def _decode(self, data: bytes) -> Message:
        length, kind, *_ = _HEADER.unpack_from(data)
        end = min(length, len(data))
        message = Message(zip(self._fields, self._fixed.unpack_from(data[:end], _HEADER.size), strict=True))
        message.kind = kind
        message.attributes = {}
        for number, value in attributes_of(data[_HEADER.size + self._fixed.size : end]):
            name, decode = self._names.get(number, ("", bytes))
            if name and name not in message.attributes:
                message.attributes[name] = decode(value)
        return message


LINK = Form(
    "=BxHiII",
    ("family", "type", "index", "flags", "change"),
    {"IFLA_IFNAME": (3, _name), "IFLA_MTU": (4, _number), "IFLA_IF_NETNSID": (46, _number)},
)
TUN = Form(
    "=BxHiII",
    ("family", "type", "index", "flags", "change"),
    {"IFLA_IFNAME": (3, _name), "IFLA_LINKINFO": (18, _raw)},
)
"""A link, as far as what it is is told."""
ROUTE = Form(
    "=BBBBBBBBI",
    ("family", "dst_len", "src_len", "tos", "table", "proto", "scope", "type", "flags"),
    {"RTA_DST": (1, _address), "RTA_SRC": (2, _address), "RTA_OIF": (4, _number), "RTA_MARK": (16, _number)},
)
ADDRESS = Form("=BBBBI", ("family", "prefixlen", "flags", "scope", "index"), {"IFA_ADDRESS": (1, _address)})
NAMESPACE = Form("=Bxxx", ("family",), {"NETNSA_NSID": (1, _number), "NETNSA_FD": (3, _number)})
