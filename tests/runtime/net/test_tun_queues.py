"""Several queues of one TUN: what is opened, who else can't attach, and what there is where it can't be had."""

import errno
import fcntl
import os
import select
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import pytest

from pywg.errors import TunError
from pywg.runtime.net import rtmessages, tun, tun_device, tun_queues
from pywg.runtime.net.tun import Tun, adopt_tun, open_tun, take_tun
from tests.descriptors import own_descriptors
from tests.requirements import require_root, require_tool
from tests.runtime.namespace import as_user, enter_namespace, ip, run_inside
from tests.runtime.net.test_tun import TUNGETVNETHDRSZ, TUNSETIFF, raw_tun

IFF_TUN, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_VNET_HDR, IFF_TUN_EXCL = 1, 0x100, 0x1000, 0x4000, 0x8000
SEVERAL = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE
TUNSETOWNER, TUNSETIFINDEX = 0x400454CC, 0x400454DA
NOBODY = 65534
UDP_SEGMENT = 103
GSO_UDP_L4 = 5
"""VIRTIO_NET_HDR_GSO_UDP_L4."""

pytestmark = pytest.mark.netns


def inside(test: Callable[[], None]) -> None:
    require_root()
    require_tool("ip")
    before = own_descriptors(settled=True)
    run_inside(test)
    assert own_descriptors() == before


def shown(name: str) -> str:
    return ip("-d", "link", "show", name)


def links() -> int:
    return len(ip("-o", "link").splitlines())


def joined(name: str) -> int:
    """A queue of somebody else's."""
    return raw_tun(name, SEVERAL)


def attaches(name: str) -> bool:
    """Whether a user without privileges may attach; the device node may be everyone's, as it is on most machines."""
    fd = os.open("/dev/net/tun", os.O_RDWR)

    def attach() -> bool:
        try:
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), SEVERAL))
        except OSError:
            return False
        return True

    try:
        return as_user(NOBODY, attach)
    finally:
        os.close(fd)


def refusing(
    monkeypatch: pytest.MonkeyPatch, refused: Callable[[int, bytes], bool], code: int = errno.EINVAL
) -> list[tuple[int, bytes]]:
    """Has ioctl(2) fail; returns what it is asked."""
    real, asked = fcntl.ioctl, []

    def ioctl(fd: Any, request: int, *arguments: Any) -> Any:
        given = arguments[0] if arguments and isinstance(arguments[0], bytes) else b""
        asked.append((request, given))
        if refused(request, given):
            raise OSError(code, os.strerror(code))
        return real(fd, request, *arguments)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return asked


def flags_of(ifreq: bytes) -> int:
    flags: int = struct.unpack("16sH22x", ifreq)[1]
    return flags


@pytest.mark.parametrize("queues", [2, 4, 8])
def test_every_queue_is_there_and_as_the_first(queues: int) -> None:
    def test() -> None:
        made = open_tun("wg0", queues=queues)
        assert made.trouble == ""
        assert len(made.fds) == len(set(made.fds)) == queues
        assert made.fds[0] == made.fd
        assert f"multi_queue numqueues {queues} numdisabled 0 persist off user root" in shown("wg0")
        for fd in made.fds:
            assert not os.get_blocking(fd)
            assert not os.get_inheritable(fd)
            assert struct.unpack("i", fcntl.ioctl(fd, TUNGETVNETHDRSZ, bytes(4))) == (made.vnet_hdr_len,)
            assert tun_device.identity(fd) == tun_device.identity(made.fd)
        one = open_tun("wg1")
        assert (made.vnet_hdr_len, made.uso, made.tunnels) == (one.vnet_hdr_len, one.uso, one.tunnels)
        one.close()
        made.close()
        made.close()
        assert made.fds == [-1]
        assert links() == 1

    inside(test)


def test_every_queue_gives_superframes_and_takes_packets() -> None:
    def test() -> None:
        ip("link", "set", "lo", "up")
        made = open_tun("wg0", queues=4)
        ip("address", "add", "10.9.0.1/24", "dev", "wg0")
        ip("link", "set", "wg0", "up")
        assert made.uso
        waiting = set(made.fds)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("10.9.0.1", 0))
            for port in range(1000, 3000):  # each is a flow, and the kernel chooses its queue
                segment = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", 500))]
                sender.sendmsg([bytes(2000)], segment, 0, ("10.9.0.2", port))
                for fd in select.select(made.fds, [], [], 0)[0]:
                    frame = os.read(fd, 1 << 16)
                    packet = frame[made.vnet_hdr_len :]
                    if packet[0] >> 4 == 4:
                        assert frame[1] == GSO_UDP_L4
                        assert len(packet) == 28 + 2000
                        waiting.discard(fd)
                if not waiting:
                    break
        assert not waiting, "no flow comes to it"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(("10.9.0.1", 0))
            receiver.settimeout(20)
            for number, fd in enumerate(made.fds):
                os.write(fd, bytes(made.vnet_hdr_len) + datagram(receiver.getsockname()[1], b"%d" % number))
                assert receiver.recv(100) == b"%d" % number
        made.close()

    inside(test)


def datagram(port: int, payload: bytes) -> bytes:
    """From 10.9.0.2 to 10.9.0.1. UDP without a checksum."""
    length = 28 + len(payload)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, length, 0, 0, 64, 17, 0, bytes([10, 9, 0, 2]), bytes([10, 9, 0, 1]))
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
    return head + struct.pack("!HHHH", 9, port, length - 20, 0) + payload


def test_one_queue_is_opened_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def test() -> None:
        asked = refusing(monkeypatch, lambda request, given: request == TUNSETIFF and flags_of(given) & 0x8100 != 0)
        made = open_tun("wg0", queues=1)
        assert (len(made.fds), made.trouble) == (1, "")
        assert TUNSETOWNER not in dict(asked)
        assert "multi_queue" not in shown("wg0")
        assert "user" not in shown("wg0")
        made.close()

    inside(test)


def test_no_other_user_attaches() -> None:
    def test() -> None:
        open_to_all = joined("open0")
        assert attaches("open0"), "the kernel lets anyone, unless there is an owner"
        os.close(open_to_all)
        made = open_tun("wg0", queues=2)
        assert not attaches("wg0")
        made.close()
        fd = joined("given0")
        taken = take_tun(fd, queues=2)
        assert len(taken.fds) == 2
        assert not attaches("given0")
        taken.close()

    inside(test)


def test_nothing_lies_between_a_new_interface_and_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    def test() -> None:
        recorded = refusing(monkeypatch, lambda _request, _given: False)
        open_tun("wg0", queues=2).close()
        assert [request for request, _ in recorded][:2] == [TUNSETIFF, TUNSETOWNER]

    inside(test)


def test_an_owner_that_there_is_stays() -> None:
    def test() -> None:
        for arguments in (("user", "4711"), ("group", "4711")):
            ip("tuntap", "add", "dev", "wg0", "mode", "tun", "multi_queue", *arguments)
            made = open_tun("wg0", queues=2)
            assert len(made.fds) == 2
            assert f"{' '.join(arguments)} " in shown("wg0")
            assert "user root" not in shown("wg0")
            told = f"wg0 belongs to {' '.join(arguments)}, "
            assert made.trouble.startswith(told), "the operator is to know: who has set it may be anyone"
            again = take_tun(os.dup(made.fd), queues=1)
            assert again.trouble == ""
            again.close()
            made.close()
            ip("link", "del", "wg0")

    inside(test)


def test_a_stranger_who_was_faster_than_the_owner_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the interface is used then: whoever it was would read packets in the clear."""

    def test() -> None:
        strangers = []
        close_to_others = tun_queues.close_to_others

        def too_late(fd: int) -> int:
            strangers.append(joined("wg0"))
            return close_to_others(fd)

        monkeypatch.setattr(tun_queues, "close_to_others", too_late)
        with pytest.raises(TunError, match="another process has a queue of it"):
            open_tun("wg0", queues=2)
        assert "numqueues 1 " in shown("wg0"), "the stranger's"
        for fd in strangers:
            os.close(fd)
        assert links() == 1

    inside(test)


@pytest.mark.parametrize("given", [False, True], ids=["made", "given"])
def test_a_stranger_who_was_faster_and_is_the_owner_now_does_not_come_back(
    monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    """Any process with a queue may set the owner. This one has left when queues are counted."""

    def test() -> None:
        close_to_others, faster = tun_queues.close_to_others, []

        def overtaken(fd: int) -> int:
            stranger = joined("wg0")
            owner = close_to_others(fd)
            as_user(NOBODY, lambda: fcntl.ioctl(stranger, TUNSETOWNER, NOBODY) == 0)
            os.close(stranger)
            faster.append(attaches("wg0"))
            return owner

        monkeypatch.setattr(tun_queues, "close_to_others", overtaken)
        made = take_tun(joined("wg0"), queues=2) if given else open_tun("wg0", queues=2)
        assert faster == [True]
        assert made.trouble == "wg0 has 1 of 2 queues: another process has given it another owner"
        assert len(made.fds) == 1
        assert attaches("wg0") is given, "what another program made, it may make anyone's"
        made.close()

    inside(test)


@pytest.mark.parametrize("seen", [True, False], ids=["seen", "at the same time"])
@pytest.mark.parametrize("queues", [1, 2])
@pytest.mark.parametrize("theirs", [1, 2])
def test_an_interface_of_another_daemon_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, theirs: int, queues: int, seen: bool
) -> None:
    """It would lose the flows that come to a further queue, if only for a moment."""

    def test() -> None:
        other = open_tun("wg0", queues=theirs)
        was = shown("wg0")
        asked = refusing(monkeypatch, lambda _request, _given: False)
        if not seen:
            monkeypatch.setattr(tun, "exists", lambda _name: False)
        with pytest.raises(TunError, match="the name wg0 is taken"):
            open_tun("wg0", queues=queues)
        tried = [flags_of(given) for request, given in asked if request == TUNSETIFF]
        assert tried
        assert all(flags & IFF_TUN_EXCL for flags in tried if flags & IFF_MULTI_QUEUE)
        assert shown("wg0") == was
        other.close()

    inside(test)


def open_and_closed(name: str) -> Tun:
    made = open_tun(name, queues=2)
    made.close()
    return made


@pytest.mark.parametrize(("several", "queues", "expected"), [("", 4, 1), ("multi_queue", 4, 4), ("", 1, 1)])
def test_a_persistent_interface_has_the_queues_that_it_was_made_for(several: str, queues: int, expected: int) -> None:
    def test() -> None:
        ip("tuntap", "add", "dev", "wg0", "mode", "tun", *([several] if several else []))
        made = open_tun("wg0", queues=queues)
        assert len(made.fds) == expected
        assert (made.trouble == "") == (expected == queues)
        assert made.persistent
        assert not open_and_closed("wg1").persistent
        if made.trouble:
            assert made.trouble == f"wg0 has 1 of {queues} queues: it was there before, and not made for several"
        made.close()
        assert "wg0" in ip("link")

    inside(test)


def test_a_persistent_interface_for_several_that_can_not_be_had_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one queue, the kernel says EINVAL of it."""

    def test() -> None:
        ip("tuntap", "add", "dev", "wg0", "mode", "tun", "multi_queue")
        was = shown("wg0")
        with pytest.raises(TunError, match=r"wg0 was made for several queues .*: make it anew .* --shards") as one:
            open_tun("wg0")
        assert "taken" not in str(one.value)
        for code in (errno.EPERM, errno.ENOMEM):
            with monkeypatch.context() as patch:
                refusing(
                    patch, lambda request, given: request == TUNSETIFF and flags_of(given) & IFF_MULTI_QUEUE != 0, code
                )
                with pytest.raises(TunError, match="wg0 was made for several queues, and can't be had with 4") as all_4:
                    open_tun("wg0", queues=4)
            assert os.strerror(code) in str(all_4.value)
        with monkeypatch.context() as patch:  # before Linux 4.17
            patch.setattr(tun_queues, "state", unknown)
            with pytest.raises(TunError, match=f"the name wg0 is taken .*; with 4 queues: {os.strerror(errno.EPROTO)}"):
                open_tun("wg0", queues=4)
        assert shown("wg0") == was
        open_tun("wg0", queues=2).close()

    def unknown(_name: str) -> NoReturn:
        raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))

    inside(test)


def nth(number: int, wanted: int) -> Callable[[int, bytes], bool]:
    """Refuses the `number`th and all later calls of that request."""
    seen = []

    def refused(request: int, _given: bytes) -> bool:
        if request == wanted:
            seen.append(request)
        return request == wanted and len(seen) >= number

    return refused


@pytest.mark.parametrize(
    ("refused", "code", "queues", "expected"),
    [
        (lambda request, given: request == TUNSETIFF and flags_of(given) & IFF_MULTI_QUEUE != 0, errno.EINVAL, 4, 1),
        (lambda request, _: request == TUNSETOWNER, errno.EPERM, 4, 1),
        (lambda request, _: request == TUNSETOWNER, errno.EINVAL, 4, 1),
        (lambda request, _: request == TUNSETIFINDEX, errno.EPERM, 4, 1),
        (nth(2, TUNSETIFF), errno.EPERM, 4, 1),
        (nth(3, TUNSETIFF), errno.E2BIG, 4, 2),
        (nth(4, TUNSETIFF), errno.ENOMEM, 4, 2),
        (nth(8, TUNSETIFF), errno.ENOMEM, 8, 4),
    ],
)
def test_where_queues_are_refused_there_are_fewer_and_a_reason(
    monkeypatch: pytest.MonkeyPatch, refused: Callable[[int, bytes], bool], code: int, queues: int, expected: int
) -> None:
    def test() -> None:
        refusing(monkeypatch, refused, code)
        made = open_tun("wg0", queues=queues)
        assert len(made.fds) == expected
        assert made.trouble.startswith(f"wg0 has {expected} of {queues} queues: ")
        assert "\n" not in made.trouble
        assert os.strerror(code) in made.trouble
        assert made.vnet_hdr_len > 0
        monkeypatch.undo()
        if expected > 1:
            assert f"numqueues {expected} " in shown("wg0")
        assert not attaches("wg0")
        made.close()
        assert links() == 1

    inside(test)


def test_what_keeps_a_queue_from_being_opened_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its advice, which the error of the node brings along."""

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def open_node() -> int:
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refuse)
            return tun_device.open_node()

    def test() -> None:
        monkeypatch.setattr(tun_queues, "open_node", open_node)
        made = open_tun("wg0", queues=2)
        assert made.trouble.startswith("wg0 has 1 of 2 queues: /dev/net/tun can't be opened: ")
        assert made.trouble.count("ulimit -n") == 1
        made.close()

    inside(test)


def test_a_kernel_that_does_not_tell_how_many_queues_there_are_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 4.17: nobody knows then who else reads."""

    def test() -> None:
        monkeypatch.setattr(rtmessages, "attributes_of", lambda _data: iter(()))
        made = open_tun("wg0", queues=4)
        assert (len(made.fds), "multi_queue" in shown("wg0")) == (1, False)
        assert made.trouble.startswith("wg0 has 1 of 4 queues: ")
        made.close()

    inside(test)


def test_an_inherited_interface_is_given_further_queues() -> None:
    def test() -> None:
        fd = joined("given0")
        ip("link", "set", "given0", "name", "renamed0")
        taken = take_tun(fd, queues=4)
        assert (taken.fd, taken.name, len(taken.fds), taken.trouble) == (fd, "renamed0", 4, "")
        assert not any(os.get_blocking(fd) or os.get_inheritable(fd) for fd in taken.fds)
        assert links() == 2
        taken.close()

    inside(test)


@pytest.mark.parametrize(
    ("others", "flags", "why"),
    [
        (0, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, "it was made without IFF_MULTI_QUEUE"),
        (1, SEVERAL, "another process has a queue of it"),
    ],
)
def test_an_inherited_interface_that_can_not_have_any(others: int, flags: int, why: str) -> None:
    def test() -> None:
        fd = raw_tun("given0", flags)
        held = [joined("given0") for _ in range(others)]
        taken = take_tun(fd, queues=4)
        assert taken.fds == [fd]
        assert taken.trouble == f"given0 has 1 of 4 queues: {why}"
        alone = take_tun(fd)
        assert (alone.fds, alone.trouble) == ([fd], "")
        for one in (*held, fd):
            os.close(one)

    inside(test)


def moved(name: str, far: ThreadPoolExecutor) -> None:
    ip("link", "set", name, "netns", str(far.submit(os.readlink, "/proc/thread-self").result().split("/")[-1]))


def test_an_inherited_interface_elsewhere_is_not_taken_for_one_of_that_name_here() -> None:
    def test() -> None:
        with ThreadPoolExecutor(1) as far:
            far.submit(enter_namespace).result()
            fd = joined("wg0")
            moved("wg0", far)
            here = joined("wg0")
            taken = take_tun(fd, queues=2)
            assert taken.fds == [fd]
            assert taken.trouble == "wg0 has 1 of 2 queues: it is in another network namespace"
            assert "numqueues 1 " in shown("wg0")
            os.close(here)
            taken = take_tun(fd, queues=2)
            assert taken.fds == [fd]
            assert "wg0" not in ip("link"), "none is made"
            os.close(fd)

    inside(test)


@pytest.mark.parametrize("replaced", [False, True])
def test_an_interface_that_is_renamed_meanwhile_gets_no_queue_and_none_is_made(
    monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    """What then has its name, if anything, is another's."""

    def test() -> None:
        fd = joined("given0")
        others: list[int] = []
        real = tun_device.open_node

        def rename_first() -> int:
            if not others:
                ip("link", "set", "given0", "name", "renamed0")
                others.append(joined("given0") if replaced else os.dup(fd))
            return real()

        monkeypatch.setattr(tun_queues, "open_node", rename_first)
        taken = take_tun(fd, queues=2)
        assert taken.fds == [fd]
        assert taken.trouble.startswith("given0 has 1 of 2 queues: ")
        assert others
        made = [joined("next0"), *others, fd]
        assert socket.if_nametoindex("next0") == socket.if_nametoindex("renamed0") + (2 if replaced else 1)
        for one in made:
            os.close(one)

    inside(test)


@pytest.mark.parametrize("queues", [1, 2, 4])
def test_another_process_goes_on_with_all_queues(queues: int) -> None:
    def test() -> None:
        made = open_tun("wg0", queues=queues)
        adopted = adopted_from(made, [os.dup(fd) for fd in made.fds])
        made.close()
        assert len(adopted.fds) == queues
        assert (f"numqueues {queues} " in shown("wg0")) == (queues > 1)
        adopted.close()
        assert links() == 1

    inside(test)


def adopted_from(made: Tun, fds: list[int]) -> Tun:
    return adopt_tun(fds, vnet_hdr_len=made.vnet_hdr_len, uso=made.uso, tunnels=made.tunnels)


def test_what_are_no_queues_of_one_interface_is_not_taken_for_that() -> None:
    def test() -> None:
        with ThreadPoolExecutor(1) as far:
            far.submit(enter_namespace).result()
            elsewhere = open_tun("wg0", queues=2)
            moved("wg0", far)
            one, other, single = open_tun("wg0", queues=4), open_tun("wg1", queues=4), open_tun("wg2")
            blocking = os.dup(one.fds[3])
            wrong = {
                "0 queues": [],
                "3 queues": one.fds[:3],
                "those of another TUN": [*one.fds[:3], other.fds[3]],
                "wg0 were handed over with those of another TUN": [one.fds[0], elsewhere.fds[1]],
                "more queues than it has": [single.fd, single.fd],
                "no TUN": [one.fds[0], os.open("/dev/null", os.O_RDWR | os.O_NONBLOCK)],
            }
            for why, fds in wrong.items():
                with pytest.raises(TunError, match=why):
                    adopted_from(one, fds)
            assert adopted_from(one, one.fds).fds == one.fds
            assert adopted_from(elsewhere, elsewhere.fds).fds == elsewhere.fds
            os.set_blocking(blocking, True)
            with pytest.raises(TunError, match="on which a read would wait"):
                adopted_from(one, one.fds)
            os.close(wrong["no TUN"][1])
            os.close(blocking)
            for made in (one, other, single, elsewhere):
                made.close()

    inside(test)
