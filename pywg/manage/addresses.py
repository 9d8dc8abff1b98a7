"""The addresses of an interface, from rtnetlink(7): questions alone, which every user may ask.

A daemon's own questions are pywg.runtime.net.netlink's; this one has an answer of many messages, and needs no library.
"""

import contextlib
import os
import socket
import struct

from pywg.config.addresses import format_prefix

_RTM_GETADDR, _RTM_NEWADDR = 22, 20
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_HEADER = struct.Struct("=IHHII")
_IFADDRMSG = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_REPLY_LEN = 1 << 16


def index_of(interface: str) -> int:
    """The interface's index; 0 where this network namespace has none by that name."""
    with contextlib.suppress(OSError, ValueError):
        return socket.if_nametoindex(interface)
    return 0


def addresses_of(index: int) -> list[str]:
    """ADDRESS/LENGTH of each address, the kernel's order. None of them where rtnetlink can't be asked."""
    found: list[str] = []
    with contextlib.suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(2.0)
        question = _IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        sock.send(_HEADER.pack(_HEADER.size + len(question), _RTM_GETADDR, _REQUEST_DUMP, os.getpid(), 0) + question)
        while _take(sock.recv(_REPLY_LEN), index, found):
            pass
    return found


def _take(reply: bytes, index: int, found: list[str]) -> bool:
    """Adds a reply's addresses. False after the last reply."""
    at = 0
    while at + _HEADER.size <= len(reply):
        length, kind, *_ = _HEADER.unpack_from(reply, at)
        if kind in (_NLMSG_DONE, _NLMSG_ERROR) or length < _HEADER.size:
            return False
        if kind == _RTM_NEWADDR:
            message = reply[at + _HEADER.size : at + length]
            _, prefix_len, _, _, owner = _IFADDRMSG.unpack_from(message)
            attributes = _attributes(message[_IFADDRMSG.size :])
            ip = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
            if owner == index and ip:
                found.append(format_prefix((ip, prefix_len)))
        at += (length + 3) & ~3
    return bool(reply)


def _attributes(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found
