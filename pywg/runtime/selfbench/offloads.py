"""Offloads that the running kernel has: tried, not guessed, and on nothing that is in use.

A child process makes the TUN in a network namespace of its own, and both are gone when this returns. A user without the
privilege to make a namespace may make one below a user namespace, where the system allows that. The UDP sockets are on
loopback.
"""

import contextlib
import errno
import json
import os
import re
import select
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from pywg.errors import DeviceError
from pywg.runtime.base.libc import unshare
from pywg.runtime.net import tun
from pywg.runtime.net.sockets import UDP_GRO, open_sockets

YES, NO, NOT_PERMITTED = "yes", "no", "not permitted"

TUN_OFFLOADS = ("tun_vnet_hdr", "tun_tso", "tun_uso", "tun_tunnels")
UDP_OFFLOADS = ("udp_segment", "udp_gro")

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_UDP_SEGMENT = 103
_TIMEOUT_S = 1.0
_SEGMENT_LEN = 100
_SEGMENTS = 3


def cpu_model() -> str:
    """The processor's name, or the architecture where /proc doesn't tell."""
    with contextlib.suppress(OSError):
        if found := re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M):
            return found[1]
    return os.uname().machine


def tun_offloads() -> dict[str, str]:
    """TUN_OFFLOADS -> YES, NO, NOT_PERMITTED, or why it is unknown. Forks: the process must have no threads."""
    return _in_child(_try_tun, TUN_OFFLOADS)


def udp_offloads() -> dict[str, str]:
    """UDP_OFFLOADS -> YES, NO, or why it is unknown: one segmented send over loopback, and what arrives of it."""
    try:
        return _try_udp()
    except OSError as error:
        return dict.fromkeys(UDP_OFFLOADS, f"unknown: {error.strerror or error}")


def _try_tun() -> dict[str, str]:
    try:
        _enter_namespace()
        made = tun.open_tun("pywg-probe")
    except OSError as error:
        refused = error.errno in (errno.EPERM, errno.EACCES)
        text = NOT_PERMITTED if refused else f"unknown: {error.strerror or error}"
        return dict.fromkeys(TUN_OFFLOADS, text)
    support = tun.offload_support(made.fd) if made.vnet_hdr_len else (False, False, False)
    made.close()
    return dict(zip(TUN_OFFLOADS, map(_word, (made.vnet_hdr_len > 0, *support)), strict=True))


def _enter_namespace() -> None:
    try:
        unshare(_CLONE_NEWNET)
    except PermissionError:
        unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def _try_udp() -> dict[str, str]:
    sockets = open_sockets(0, 0)
    try:
        receiver = sockets.udp4 or sockets.udp6
        if receiver is None:
            raise DeviceError(errno.EAFNOSUPPORT, "no IP")
        host = "127.0.0.1" if receiver is sockets.udp4 else "::1"
        sent = bytes(_SEGMENT_LEN * _SEGMENTS)
        with socket.socket(receiver.family, socket.SOCK_DGRAM) as sender:
            size = [(socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("=H", _SEGMENT_LEN))]
            try:
                sender.sendmsg([sent], size, 0, (host, sockets.port))
                segments = True
            except OSError:
                sender.sendto(sent, (host, sockets.port))
                segments = False
            lengths, merged = _receive(receiver, len(sent))
    finally:
        sockets.close()
    if sum(lengths) < len(sent):
        return dict.fromkeys(UDP_OFFLOADS, "unknown: nothing came over loopback")
    segments = segments and (merged or lengths == [_SEGMENT_LEN] * _SEGMENTS)
    return {"udp_segment": _word(segments), "udp_gro": _word(merged or (not segments and sockets.udp_gro))}


def _receive(receiver: socket.socket, wanted: int) -> tuple[list[int], bool]:
    """Lengths of the messages that bring `wanted` bytes, and whether the kernel merged any."""
    lengths: list[int] = []
    merged = False
    while sum(lengths) < wanted and select.select([receiver], [], [], _TIMEOUT_S)[0]:
        data, control, _, _ = receiver.recvmsg(1 << 16, socket.CMSG_SPACE(64) * 4)
        lengths.append(len(data))
        merged = merged or any(kind[:2] == (socket.IPPROTO_UDP, UDP_GRO) for kind in control)
    return lengths, merged


def _in_child(attempt: Callable[[], dict[str, str]], names: tuple[str, ...]) -> dict[str, str]:
    """What `attempt` returns in a child process, which leaves nothing behind when it ends."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, json.dumps(attempt()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return dict(json.loads(text)) if text else dict.fromkeys(names, "unknown: the attempt failed")


def _word(offered: bool) -> str:
    return YES if offered else NO
