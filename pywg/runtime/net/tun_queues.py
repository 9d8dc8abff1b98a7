"""Further queues of a TUN interface (IFF_MULTI_QUEUE): the kernel spreads what it sends by flow, one for each shard.

Any process that may open /dev/net/tun, which on most machines is every process, may attach itself to an interface with
this flag, unless the interface has an owner: it would then read packets before they are encrypted, and write others as
if a peer had sent them. So the owner is set to root before anything else. A process that was faster still needs no
privilege to set another owner, such as its own user, and may then leave, and come back whenever it likes. So afterwards
the kernel is asked, in one question, how many queues there are and who is the owner: where both are as they should be,
no other user can change either any more. Root with CAP_NET_ADMIN may still attach a queue; it may do anything else with
the interface, too.

Nothing here is needed once the queues are open: all else that is set of them is set of the interface.
"""

import contextlib
import errno
import fcntl
import os
import struct
import sys
from collections.abc import Sequence
from typing import NamedTuple

from pywg.errors import TunError
from pywg.runtime.base import namespaces
from pywg.runtime.base.failures import advice
from pywg.runtime.base.in_use import name_taken
from pywg.runtime.base.processors import SHARDS
from pywg.runtime.net import rtmessages
from pywg.runtime.net.netlink import Questions
from pywg.runtime.net.tun_device import (
    IFF_MULTI_QUEUE,
    IFF_NO_PI,
    IFF_TUN,
    IFF_TUN_EXCL,
    IFF_VNET_HDR,
    TUNGETDEVNETNS,
    OneQueueError,
    attach,
    exists,
    identity,
    open_node,
)

_TUNSETOWNER = 0x400454CC
_TUNSETIFINDEX = 0x400454DA
_LOOPBACK = 1
"""The index of `lo` in every network namespace."""
_ROOT = 0
_RTM_GETLINK = 18
_IFLA_INFO_DATA = 2
_IFLA_TUN_OWNER, _IFLA_TUN_GROUP, _IFLA_TUN_NUM_QUEUES, _IFLA_TUN_NUM_DISABLED_QUEUES = 1, 2, 8, 9


class State(NamedTuple):
    """What the kernel says of an interface."""

    queues: int
    """with those that are switched off; 0 also where it can have but one"""
    multiple: bool
    """it has IFF_MULTI_QUEUE"""
    owner: int | None
    """the user who may attach to it"""
    group: int | None
    """the group of which one has to be to attach to it"""

    @property
    def owned(self) -> bool:
        """Whether not everyone may attach to it."""
        return (self.owner, self.group) != (None, None)


class Further(NamedTuple):
    """Further queues that were opened."""

    fds: list[int]
    """non-blocking"""
    fewer: str
    """why there are not more; empty where there are all"""
    others: str
    """who else may attach to the interface at any time; empty where nobody may but root and this user"""


def state(name: str) -> State:
    """Of interface `name` in this network namespace. Raises OSError: ENODEV, or EPROTO before Linux 4.17."""
    questions = Questions()
    try:
        link = questions.ask(_RTM_GETLINK, rtmessages.TUN, {}, {"IFLA_IFNAME": os.fsencode(name)})
    finally:
        questions.close()
    try:
        info = dict(rtmessages.attributes_of(link.get_attr("IFLA_LINKINFO") or b""))
        data = rtmessages.attributes_of(info.get(_IFLA_INFO_DATA, b""))
        said = {number: int.from_bytes(value, sys.byteorder) for number, value in data}
    except (struct.error, ValueError) as error:
        raise OSError(errno.EPROTO, f"what rtnetlink says of {name} can't be read: {error}") from error
    number, disabled = said.get(_IFLA_TUN_NUM_QUEUES), said.get(_IFLA_TUN_NUM_DISABLED_QUEUES, 0)
    return State((number or 0) + disabled, number is not None, said.get(_IFLA_TUN_OWNER), said.get(_IFLA_TUN_GROUP))


def close_to_others(fd: int) -> int:
    """Has root own the interface behind `fd`, so that no other user may attach to it; where there is no root, this
    process' user. Returns that user. Raises OneQueueError."""
    for owner in (_ROOT, os.geteuid()):
        try:
            fcntl.ioctl(fd, _TUNSETOWNER, owner)
        except OSError as error:
            why = error
            if error.errno != errno.EINVAL:  # a user namespace without root
                break
        else:
            return owner
    raise OneQueueError(f"it can't have an owner: {why.strerror}{advice(why.errno or 0)}") from why


def _is_used(name: str) -> bool:
    """Whether interface `name`, a TUN for several queues, has one. Raises OneQueueError: it is nothing of the kind."""
    try:
        found = state(name)
    except OSError as error:
        raise OneQueueError(f"{error.strerror}{advice(error.errno or 0)}") from error
    if not found.multiple:
        raise OneQueueError("it was there before, and not made for several")
    return found.queues > 0


def flags_for(name: str) -> int:
    """The flags that have TUNSETIFF make a new interface of several queues, or take a persistent one that is unused.

    Raises OneQueueError, TunError: there is one already, and not so. Others' queues of it would else lose to ours what
    they read.
    """
    if not exists(name):
        return IFF_MULTI_QUEUE | IFF_TUN_EXCL
    if _is_used(name):
        raise TunError(errno.EBUSY, name_taken(name))
    return IFF_MULTI_QUEUE


def one_queue_error(error: TunError, name: str, queues: int, why: str) -> TunError:
    """The EINVAL where an interface can't be had with one queue either, and not with more because of `why`, if those
    were wanted. Of one that was made for several the kernel says but that something is wrong."""
    if error.strerror == why:
        return error
    try:
        found = state(name)
    except OSError:  # what is wrong with one that is there is not to be known, nor whether that is it
        return TunError(errno.EINVAL, f"{error.strerror}; with {queues} queues: {why}") if why else error
    if not found.multiple or (found.queues and not why):
        return error
    if why:
        return TunError(errno.EINVAL, f"{name} was made for several queues, and can't be had with {queues}: {why}")
    text = f"{name} was made for several queues (multi_queue), and is to have one: make it anew without multi_queue"
    return TunError(errno.EINVAL, f"{text}, or start with --shards")


def open_further(first: int, queues: int, *, here: bool, owner: int | None = None) -> Further:
    """Further queues, so that there are `queues` with `first`; or fewer.

    `here`: the interface is known to be in this thread's network namespace. `owner`: the one that `close_to_others` has
    given it. Raises OneQueueError where there can be none, and nothing is open then.
    """
    try:
        name, flags = identity(first)
        if not flags & IFF_MULTI_QUEUE:
            raise OneQueueError("it was made without IFF_MULTI_QUEUE")
        if not here and namespace_of(first) != namespaces.of_this_thread():
            raise OneQueueError("it is in another network namespace")
        if owner is None:
            found = state(name)
            owner = found.owner if found.owned else close_to_others(first)
        return _opened(first, name, flags, queues, owner)
    except OSError as error:
        raise OneQueueError(_why(error)) from error


def _opened(first: int, name: str, flags: int, queues: int, owner: int | None) -> Further:
    more: list[int] = []
    fewer = ""
    try:
        try:
            while len(more) + 1 < queues:
                more.append(_open_queue(name, flags))
        except OSError as error:
            fewer = _why(error)
        while len(more) + 1 not in SHARDS:
            os.close(more.pop())
        if any(identity(fd) != (name, flags) for fd in (*more, first)):
            raise OneQueueError("it has another name meanwhile")
        found = state(name)
        if found.queues != len(more) + 1:
            raise OneQueueError("another process has a queue of it")
        if found.owner != owner:
            raise OneQueueError("another process has given it another owner")
    except BaseException:
        for fd in more:
            os.close(fd)
        raise
    return Further(more, fewer, _others(name, found))


def _others(name: str, found: State) -> str:
    """One line for an owner that somebody else has chosen. Who did is not to be known: until there is one, the kernel
    lets anyone be the owner."""
    if found.owner is not None:
        whose = "" if found.owner in (_ROOT, os.geteuid()) else f"user {found.owner}, who"
    else:
        whose = f"group {found.group}, of which anyone"
    if not whose:
        return ""
    return f"{name} belongs to {whose} may read and write packets of it: let pywg make the interface"


def _why(error: OSError) -> str:
    """The words of an error, with advice; those of a TunError have some."""
    return str(error.strerror) if isinstance(error, TunError) else f"{error.strerror}{advice(error.errno or 0)}"


def _open_queue(name: str, flags: int) -> int:
    """One more queue of interface `name`. Raises OSError, also where there is no such interface: none is made."""
    fd = open_node()
    try:
        fcntl.ioctl(fd, _TUNSETIFINDEX, struct.pack("i", _LOOPBACK))  # of one that it makes, and that is taken
        attach(fd, name, IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE | flags & IFF_VNET_HDR)
    except BaseException:
        os.close(fd)
        raise
    return fd


def together(fds: Sequence[int]) -> bool:
    """Whether interfaces of one name are in one network namespace, and so are one, as far as the kernel tells."""
    with contextlib.suppress(OSError):
        return len({namespace_of(fd) for fd in fds}) == 1
    return True


def namespace_of(fd: int) -> int:
    """The network namespace of the interface behind `fd`, known as in base/namespaces.py.

    Raises OSError: before Linux 5.5, and without CAP_NET_ADMIN there.
    """
    namespace = fcntl.ioctl(fd, TUNGETDEVNETNS)
    try:
        return os.fstat(namespace).st_ino
    finally:
        os.close(namespace)
