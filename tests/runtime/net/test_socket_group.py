"""Groups of sockets on one port: which of them gets a datagram, who can't join, and what there is without one."""

import errno
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pywg.errors import BindError
from pywg.runtime.base.binding import Binding, read_binding
from pywg.runtime.net.sockets import Sockets, adopt_sockets, new_socket, open_sockets
from tests.descriptors import own_descriptors
from tests.requirements import require_root, require_tool
from tests.runtime.namespace import as_user, enter_namespace, ip, run_inside
from tests.runtime.net.test_sockets import without

V4, V6 = socket.AF_INET, socket.AF_INET6
LOOPBACK = {V4: "127.0.0.1", V6: "::1"}
SO_REUSEPORT, SO_ATTACH_REUSEPORT_CBPF = (socket.SOL_SOCKET, 15), (socket.SOL_SOCKET, 51)
UDP_SEGMENT, UDP_GRO = 103, 104

INITIATION = b"\x01\0\0\0" + b"\x03" * 144
RESPONSE = b"\x02\0\0\0" + b"\x03" * 88
COOKIE = b"\x03\0\0\0" + b"\x03" * 60
NO_MESSAGES = [b"", b"\x04", b"\x04\0\0\0", b"\x04\0\0\0\x03\0\0", b"\x04\0\0\x01" + b"\x03" * 28, b"\x03" * 32]


def data(index: int) -> bytes:
    """Transport data for a receiver index."""
    return b"\x04\0\0\0" + index.to_bytes(4, "little") + bytes(24)


def of_family(sockets: Sockets, family: int) -> list[socket.socket]:
    """The sockets of one family, those of the first shard first."""
    found = [pair[family == V6] for pair in [(sockets.udp4, sockets.udp6), *sockets.more]]
    there = [sock for sock in found if sock is not None]
    assert len(there) in (0, len(found))
    return there


def received(sock: socket.socket) -> list[bytes]:
    found = []
    try:
        while True:
            found.append(sock.recv(1 << 16))
    except BlockingIOError:
        return found


def send(family: int, port: int, *datagrams: bytes, to: str = "") -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        for datagram in datagrams:
            sender.sendto(datagram, (to or LOOPBACK[socket.AddressFamily(family)], port))


def steers(sockets: Sockets, family: int, *, to: str = "") -> None:
    """Asserts that each socket of a group gets its own, and that the first gets all else."""
    group = of_family(sockets, family)
    indices = [high << 8 | low for high in (0, 0xABCDEF) for low in range(16)]
    others = [INITIATION, RESPONSE, COOKIE, *NO_MESSAGES]
    send(family, sockets.port, *(data(index) for index in indices), *others, to=to)
    for number, sock in enumerate(group):
        own = [data(index) for index in indices if index % len(group) == number]
        assert received(sock) == own + (others if number == 0 else []), f"socket {number} of {len(group)}"


def joins(sock: socket.socket, family: int, port: int) -> bool:
    """Whether `sock` can have the port with SO_REUSEPORT."""
    sock.setsockopt(*SO_REUSEPORT, 1)
    if family == V6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        sock.bind(("::" if family == V6 else "", port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


@pytest.fixture
def opened() -> Iterator[Callable[..., Sockets]]:
    """open_sockets, and all is closed afterwards. Checks that nothing stays open."""
    found: list[Sockets] = []
    before = own_descriptors(settled=True)

    def open_them(port: int = 0, fwmark: int = 0, **options: object) -> Sockets:
        found.append(open_sockets(port, fwmark, **options))  # type: ignore[arg-type]
        return found[-1]

    yield open_them
    for sockets in found:
        sockets.close()
    assert own_descriptors() == before


@pytest.mark.parametrize("shards", [2, 4, 8])
@pytest.mark.parametrize("family", [V4, V6])
def test_a_receiver_index_names_the_socket_and_all_else_goes_to_the_first(
    opened: Callable[..., Sockets], family: int, shards: int
) -> None:
    sockets = opened(shards=shards)
    assert sockets.trouble == ""
    assert len(sockets.pairs) == shards
    assert sockets.pairs[0] == (sockets.fd4, sockets.fd6)
    assert len({fd for pair in sockets.pairs for fd in pair}) == 2 * shards
    steers(sockets, family)


def test_one_shard_is_one_pair_that_shares_nothing(opened: Callable[..., Sockets]) -> None:
    sockets = opened()
    assert sockets.pairs == [(sockets.fd4, sockets.fd6)]
    for family in (V4, V6):
        (sock,) = of_family(sockets, family)
        assert sock.getsockopt(*SO_REUSEPORT) == 0


@pytest.mark.parametrize("family", [V4, V6])
def test_datagrams_that_were_merged_go_by_the_first(opened: Callable[..., Sockets], family: int) -> None:
    sockets = opened(shards=4)
    if not sockets.udp_gro:
        pytest.skip("this kernel has no UDP_GRO that can be used")
    trains = [b"".join(map(data, indices)) for indices in ((2, 6, 2), (3, 3), (1, 2, 3), (0, 1))]
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.connect((LOOPBACK[socket.AddressFamily(family)], sockets.port))
        for train in trains:
            sender.sendmsg([train], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", 32))])
    for sock, train in zip(of_family(sockets, family), (trains[3], trains[2], trains[0], trains[1]), strict=True):
        came, ancillary, _, _ = sock.recvmsg(1 << 16, 128)
        assert came == train
        assert (socket.IPPROTO_UDP, UDP_GRO, struct.pack("=i", 32)) in ancillary


@pytest.mark.parametrize("family", [V4, V6])
def test_a_port_of_another_program_stays_an_error_although_that_one_shares_it(
    opened: Callable[..., Sockets], family: int
) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as other, socket.socket(family, socket.SOCK_DGRAM) as control:
        assert joins(other, family, 0)
        port = other.getsockname()[1]
        for shards in (1, 2):
            with pytest.raises(BindError) as caught:
                opened(port, shards=shards)
            assert caught.value.errno == errno.EADDRINUSE
        assert joins(control, family, port), "else it would be an error for anyone"


@pytest.mark.parametrize("theirs", [1, 4])
@pytest.mark.parametrize("ours", [1, 4])
def test_a_port_of_another_daemon_stays_an_error(opened: Callable[..., Sockets], ours: int, theirs: int) -> None:
    other = opened(shards=theirs)
    with pytest.raises(BindError) as caught:
        opened(other.port, shards=ours)
    assert caught.value.errno == errno.EADDRINUSE
    for family in (V4, V6):
        steers(other, family)
    other.close()
    again = opened(other.port, shards=ours)
    assert again.trouble == ""
    for family in (V4, V6):
        steers(again, family)


@pytest.mark.parametrize("family", [V4, V6])
def test_no_other_user_joins(opened: Callable[..., Sockets], family: int) -> None:
    require_root()
    sockets = opened(shards=2)
    for uid, expected in ((65534, False), (os.geteuid(), True)):
        assert as_user(uid, lambda: joins(socket.socket(family, socket.SOCK_DGRAM), family, sockets.port)) == expected


class Refusing(socket.socket):
    """Refuses an option, bind or getsockname the nth time that it is called."""

    at: tuple[int, int] | str = "bind"
    nth = 1
    code = errno.ENOPROTOOPT
    asked = 0

    def setsockopt(self, *arguments: object) -> None:
        if arguments[:2] == type(self).at and arguments[2] != 0:
            self.count()
        super().setsockopt(*arguments)  # type: ignore[call-overload]

    def bind(self, address: object) -> None:
        if type(self).at == "bind":
            self.count()
        super().bind(address)  # type: ignore[arg-type]

    def getsockname(self) -> object:
        if type(self).at == "getsockname":
            self.count()
        return super().getsockname()

    def count(self) -> None:
        mine = type(self)
        mine.asked += 1
        if mine.asked == mine.nth:
            raise OSError(mine.code, os.strerror(mine.code))


def refusing(refused: tuple[int, int] | str, which: int, why: int) -> Callable[[int], socket.socket]:
    class Mine(Refusing):
        at, nth, code = refused, which, why

    return lambda family: Mine(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.IPPROTO_UDP)


@pytest.mark.parametrize(
    ("at", "nth", "code"),
    [
        (SO_REUSEPORT, 1, errno.EPERM),  # the first of IPv4
        (SO_REUSEPORT, 3, errno.EPERM),  # the third of IPv4
        (SO_REUSEPORT, 5, errno.EPERM),  # the first of IPv6, when IPv4 has its group
        (SO_ATTACH_REUSEPORT_CBPF, 1, errno.ENOPROTOOPT),
        (SO_ATTACH_REUSEPORT_CBPF, 2, errno.ENOMEM),
        ("bind", 4, errno.EADDRINUSE),
        ("bind", 8, errno.EADDRNOTAVAIL),
        ("getsockname", 3, errno.ENOBUFS),  # of one that has joined
        ("getsockname", 4, errno.ENOBUFS),  # of the first, when one joins
    ],
)
def test_where_a_group_is_refused_there_is_one_pair_and_a_reason(
    opened: Callable[..., Sockets], at: tuple[int, int] | str, nth: int, code: int
) -> None:
    made: list[socket.socket] = []
    new = refusing(at, nth, code)

    def factory(family: socket.AddressFamily) -> socket.socket:
        made.append(new(family))
        return made[-1]

    sockets = opened(shards=4, factory=factory)
    assert [sock for sock in made if sock.fileno() >= 0] == [sockets.udp4, sockets.udp6]
    assert sockets.pairs == [(sockets.fd4, sockets.fd6)]
    assert f"UDP port {sockets.port} " in sockets.trouble
    assert "\n" not in sockets.trouble
    assert os.strerror(code) in sockets.trouble or code == errno.EADDRNOTAVAIL
    for family in (V4, V6):
        (sock,) = of_family(sockets, family)
        assert sock.getsockopt(*SO_REUSEPORT) == 0
        with socket.socket(family, socket.SOCK_DGRAM) as other:
            assert not joins(other, family, sockets.port)
        steers(sockets, family)


@pytest.mark.parametrize(("missing", "there"), [(V6, V4), (V4, V6)])
def test_a_host_with_one_family_has_groups_of_that(
    opened: Callable[..., Sockets], missing: socket.AddressFamily, there: int
) -> None:
    sockets = opened(shards=4, factory=without(missing))
    assert sockets.trouble == ""
    assert [pair[missing == V6] for pair in sockets.pairs] == [-1] * 4
    steers(sockets, there)


@pytest.mark.parametrize(("address", "family"), [("127.0.0.1", V4), ("::1", V6)])
def test_a_group_on_one_address(opened: Callable[..., Sockets], address: str, family: int) -> None:
    sockets = opened(shards=4, binding=read_binding([address], ""))
    assert len(of_family(sockets, family)) == 4
    assert all(sock.getsockname()[:2] == (address, sockets.port) for sock in of_family(sockets, family))
    steers(sockets, family)


ADDRESSES = {V4: ("10.9.0.1", "10.9.0.2", "/24", ()), V6: ("fd09::1", "fd09::2", "/64", ("nodad",))}
"""Of this end and of the far one."""


@pytest.mark.netns
def test_sockets_that_are_opened_beside_those_of_before_are_a_group_of_their_own() -> None:
    """As when the device comes back that they are bound to: the port is the same, and so is the name."""
    require_root()
    require_tool("ip")

    def connect(far: ThreadPoolExecutor) -> None:
        ip("link", "add", "dev0", "type", "veth", "peer", "name", "far0")
        ip("link", "set", "far0", "netns", str(far.submit(threading.get_native_id).result()))
        for here, there, length, more in ADDRESSES.values():
            ip("address", "add", here + length, "dev", "dev0", *more)
            far.submit(ip, "address", "add", there + length, "dev", "far0", *more).result()
        ip("link", "set", "dev0", "up")
        far.submit(ip, "link", "set", "far0", "up").result()

    def test(far: ThreadPoolExecutor) -> None:
        bound = Binding(device="dev0")
        connect(far)
        old = open_sockets(0, 0, binding=bound, shards=4)
        with pytest.raises(BindError, match="Address already in use"):
            open_sockets(old.port, 0, binding=bound, shards=4)
        ip("link", "del", "dev0")
        connect(far)
        new = open_sockets(old.port, 0, binding=bound, shards=4)
        assert (new.trouble, len(new.pairs)) == ("", 4)
        assert new.ifindex != old.ifindex
        for family in ADDRESSES:
            from_afar(far, new, family)
        old.close()
        for family in ADDRESSES:
            from_afar(far, new, family)
        new.close()

    def inside() -> None:
        with ThreadPoolExecutor(1) as far:
            far.submit(enter_namespace).result()
            test(far)

    run_inside(inside)


def from_afar(far: ThreadPoolExecutor, sockets: Sockets, family: int) -> None:
    """As `steers`, over a device: what was sent need not be there yet."""
    sent = [data(index) for index in range(8)] + [INITIATION]
    far.submit(send, family, sockets.port, *sent, to=ADDRESSES[socket.AddressFamily(family)][0]).result()
    for number, sock in enumerate(of_family(sockets, family)):
        expected = [data(number), data(number + 4), *([INITIATION] if number == 0 else [])]
        came: list[bytes] = []
        while len(came) < len(expected):
            assert select.select([sock], [], [], 20)[0], f"socket {number} has {len(came)}"
            came += received(sock)
        assert came == expected


@pytest.mark.netns
@pytest.mark.parametrize("nth", [3, 5, 6, 8])
def test_a_device_that_is_replaced_meanwhile_gets_no_half_of_a_group(nth: int) -> None:
    require_root()
    require_tool("ip")
    made: list[socket.socket] = []

    def factory(family: socket.AddressFamily) -> socket.socket:
        made.append(new_socket(family))
        if len(made) == nth:
            ip("link", "del", "dev0")
            ip("link", "add", "dev0", "type", "veth")
        return made[-1]

    def test() -> None:
        ip("link", "add", "dev0", "type", "veth")
        sockets = open_sockets(0, 0, binding=Binding(device="dev0"), shards=4, factory=factory)
        assert len(sockets.pairs) == 1
        assert "device dev0 has been replaced meanwhile" in sockets.trouble
        assert [sock for sock in made if sock.fileno() >= 0] == [sockets.udp4, sockets.udp6]
        sockets.close()

    run_inside(test)


def test_what_is_set_of_the_sockets_is_set_of_all(opened: Callable[..., Sockets]) -> None:
    sockets = opened(shards=2)
    everyone = [sock for family in (V4, V6) for sock in of_family(sockets, family)]
    full = {sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for sock in everyone}
    assert len(full) == 1
    sockets.hold()
    assert all(sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 4608 for sock in everyone)
    for family in (V4, V6):
        send(family, sockets.port, data(0), data(1))
    sockets.use()
    assert {sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for sock in everyone} == full
    assert [received(sock) for sock in everyone] == [[]] * 4
    for family in (V4, V6):
        steers(sockets, family)
    everyone[3].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    everyone[2].setsockopt(socket.IPPROTO_UDP, UDP_GRO, 0)
    assert sockets.receive_buffer == everyone[3].getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    assert not sockets.udp_gro
    sockets.close()
    assert {sock.fileno() for sock in everyone} == {-1}


def test_a_mark_that_the_last_socket_refuses_is_on_none(opened: Callable[..., Sockets]) -> None:
    require_root()
    mark = (socket.SOL_SOCKET, socket.SO_MARK)
    sockets = opened(0, 5, shards=2, factory=refusing(mark, 4 + 4, errno.EPERM))
    everyone = [sock for family in (V4, V6) for sock in of_family(sockets, family)]
    assert [sock.getsockopt(*mark) for sock in everyone] == [5] * 4
    with pytest.raises(BindError, match="fwmark 0x7 can't be set"):
        sockets.set_mark(7)
    assert [sock.getsockopt(*mark) for sock in everyone] == [5] * 4
    other = opened(0, 5, shards=2)
    other.set_mark(7)
    assert [sock.getsockopt(*mark) for family in (V4, V6) for sock in of_family(other, family)] == [7] * 4


def dup(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(-1 if fd4 < 0 else os.dup(fd4), -1 if fd6 < 0 else os.dup(fd6)) for fd4, fd6 in pairs]


@pytest.mark.parametrize("options", [{}, {"binding": read_binding(["127.0.0.1"], "")}, {"factory": without(V4)}])
def test_another_process_goes_on_with_a_group(opened: Callable[..., Sockets], options: dict[str, object]) -> None:
    sockets = opened(shards=4, **options)
    copies = dup(sockets.pairs)
    adopted = adopt_sockets(copies)
    try:
        assert adopted.pairs == copies
        assert (adopted.port, adopted.ifindex, adopted.trouble) == (sockets.port, sockets.ifindex, "")
        sockets.close()
        for family in (V4, V6):
            steers(adopted, family)
    finally:
        adopted.close()


def test_what_is_no_group_is_not_taken_for_one(opened: Callable[..., Sockets]) -> None:
    one, other = opened(shards=4), opened(shards=4)
    on_an_address = opened(shards=4, binding=Binding(((V4, "127.0.0.1"), (V6, "::1"))))
    good = one.pairs
    wrong = [
        [],
        good[:3],
        good + good + good[:1],
        [*good[:3], other.pairs[3]],
        [*good[:3], on_an_address.pairs[3]],
        [*good[:3], (good[3][0], -1)],
        [*good[:3], (-1, -1)],
        [*good[:3], (good[3][1], good[3][0])],
        [(-1, -1)] * 4,
    ]
    for pairs in wrong:
        copies = dup(pairs)
        with pytest.raises(BindError, match="handed over"):
            adopt_sockets(copies)
        for pair in copies:
            for fd in pair:
                if fd >= 0:
                    os.close(fd)  # is the caller's still
    copies = dup(good)
    adopt_sockets(copies).close()
