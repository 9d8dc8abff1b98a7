"""The daemon's messages of rtnetlink beside pyroute2's: the same bytes, and the same read from the kernel's answers."""

import errno
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from pywg.manage.rtnetlink import LibraryForm, Rtnetlink, messages
from pywg.runtime.net.rtmessages import ADDRESS, LINK, NAMESPACE, ROUTE, Form

RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETNSID = 18, 22, 26, 90
HEADER = struct.Struct("=IHHII")


def namespace() -> LibraryForm:
    from pyroute2.netlink.rtnl.nsidmsg import nsidmsg

    return LibraryForm(nsidmsg)


QUESTIONS: tuple[tuple[int, Form, Callable[[], LibraryForm], dict[str, int], dict[str, object]], ...] = (
    (RTM_GETLINK, LINK, lambda: messages().link, {}, {"IFLA_IFNAME": b"wg0"}),
    (RTM_GETLINK, LINK, lambda: messages().link, {"index": 7}, {"IFLA_IFNAME": b"odd", "IFLA_IF_NETNSID": 3}),
    (
        RTM_GETROUTE,
        ROUTE,
        lambda: messages().route,
        {"family": socket.AF_INET, "dst_len": 32, "src_len": 32},
        {"RTA_DST": "192.0.2.1", "RTA_SRC": "192.0.2.2", "RTA_MARK": 51820, "RTA_OIF": 4},
    ),
    (
        RTM_GETROUTE,
        ROUTE,
        lambda: messages().route,
        {"family": socket.AF_INET6, "dst_len": 128, "src_len": 128},
        {"RTA_DST": "2001:db8::1", "RTA_SRC": "fe80::2"},
    ),
    (
        RTM_GETADDR,
        ADDRESS,
        lambda: messages().address,
        {"family": socket.AF_INET6, "index": 2},
        {"IFA_ADDRESS": "2001:db8::7"},
    ),
    (RTM_GETNSID, NAMESPACE, namespace, {}, {"NETNSA_FD": 9}),
)


@pytest.mark.parametrize(("kind", "ours", "library", "fields", "attributes"), QUESTIONS)
def test_a_question(kind: int, ours: Form, library: Any, fields: dict[str, int], attributes: dict[str, object]) -> None:
    question = ours.encode(kind, fields, attributes)
    assert question == library().encode(kind, fields, attributes)
    read = ours.decode(bytes(question))
    assert (read.kind, read.attributes) == (kind, attributes)
    assert {name: read[name] for name in fields} == fields


@pytest.mark.parametrize(
    ("kind", "ours", "library", "names"),
    [
        (RTM_GETLINK, LINK, lambda: messages().link, ("IFLA_MTU",)),
        (RTM_GETROUTE, ROUTE, lambda: messages().route, ("RTA_OIF", "RTA_DST")),
        (RTM_GETADDR, ADDRESS, lambda: messages().address, ("IFA_ADDRESS",)),
    ],
)
def test_the_kernels_answers(kind: int, ours: Form, library: Any, names: tuple[str, ...]) -> None:
    class Both:
        """One answer, read by both."""

        encode = staticmethod(ours.encode)

        def decode(self, data: bytes) -> Any:
            return ours.decode(data), library().decode(data)

    questions = Rtnetlink()
    found = questions.dump(kind, Both(), {})
    questions.close()
    assert found
    for one, other in found:
        for field, value in one.items():
            assert value == other[{"type": "ifi_type"}.get(field, field) if kind == RTM_GETLINK else field], field
        for name in names:
            assert one.get_attr(name) == other.get_attr(name), name


def answer(body: bytes, length: int | None = None) -> bytes:
    return HEADER.pack(HEADER.size + len(body) if length is None else length, 16, 0, 1, 0) + body


FIXED = bytes(16)
MTU = struct.pack("=HHI", 8, 4, 1420)


def test_the_first_of_two_and_no_unknown_one() -> None:
    read = LINK.decode(answer(FIXED + struct.pack("=HHI", 8, 999, 1) + MTU + struct.pack("=HHI", 8, 4, 9000)))
    assert read.attributes == {"IFLA_MTU": 1420}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        answer(FIXED)[:10],
        answer(FIXED[:-1]),
        answer(FIXED + MTU, length=20),
        answer(FIXED + MTU[:3]),
        answer(FIXED + MTU[:-1]),
        answer(FIXED + struct.pack("=HH", 0, 4)),
        answer(FIXED + struct.pack("=HH", 3, 4)),
        answer(FIXED + struct.pack("=HHI", 0xFFFF, 4, 1420)),
        answer(FIXED + struct.pack("=HHH", 6, 4, 1420)),
    ],
)
def test_what_can_not_be_read(data: bytes) -> None:
    assert LINK.decode(answer(FIXED + MTU)).get_attr("IFLA_MTU") == 1420
    with pytest.raises(OSError, match="rtnetlink") as caught:
        LINK.decode(data)
    assert caught.value.errno == errno.EPROTO


def test_an_address_of_no_family() -> None:
    with pytest.raises(OSError, match="rtnetlink"):
        ADDRESS.decode(answer(bytes(8) + struct.pack("=HH5s3x", 9, 1, bytes(5))))
