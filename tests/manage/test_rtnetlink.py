"""rtnetlink for the commands: pyroute2's messages without its front door, and answers as the kernel gives them."""

import errno
import os
import socket
import struct
import subprocess
import sys
from typing import Any

import pytest

from pywg.manage.rtnetlink import Rtnetlink, messages


def python(program: str) -> str:
    """What a fresh interpreter prints. `imported` names all modules whose import was begun so far."""
    prelude = (
        "import sys; imported = []\n"
        "sys.addaudithook(lambda event, args: imported.append(args[0]) if event == 'import' else None)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", prelude + program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_front_door_stays_shut() -> None:
    program = """
from pywg.manage.rtnetlink import messages
assert messages().link.library_class.__name__ == "ifinfmsg"
assert "pyroute2.common" in imported
assert "pyroute2.ndb.main" not in imported and "pyroute2.iproute" not in imported
print([name for name in sys.modules if name.split(".")[0] == "pyroute2"])
"""
    assert python(program) == "[]\n"


def test_pyroute2_can_be_imported_as_always_afterwards() -> None:
    program = """
from pywg.manage.rtnetlink import messages
from pywg.runtime.net.netlink import Questions
ours = messages()
import pyroute2
import pyroute2.netlink.rtnl.ifinfmsg
assert "pyroute2.ndb.main" in imported
with pyroute2.IPRoute() as route:
    (lo,) = route.get_links(ifname="lo")
assert isinstance(lo, pyroute2.netlink.rtnl.ifinfmsg.ifinfmsg)
assert messages() is ours
print(Questions().ask(18, ours.link, {}, {"IFLA_IFNAME": "lo"}).get_attr("IFLA_MTU") == lo.get_attr("IFLA_MTU"))
"""
    assert python(program) == "True\n"


def test_an_open_front_door_is_used() -> None:
    program = """
import pyroute2
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from pywg.manage.rtnetlink import messages
print(messages().route.library_class is rtmsg, sys.modules["pyroute2"] is pyroute2)
"""
    assert python(program) == "True True\n"


def test_the_front_door_is_the_way_in_when_there_is_no_other() -> None:
    program = """
from pywg.manage import rtnetlink as messages
from pywg.runtime.base.log import Level, Log
find_spec = messages.importlib.util.find_spec
messages.importlib.util.find_spec = lambda name: None if name == "pyroute2" else find_spec(name)
print(messages.messages().link.library_class.__name__, "pyroute2.ndb.main" in imported, "pyroute2" in sys.modules)
"""
    assert python(program) == "ifinfmsg True True\n"


GETLINK, DELLINK, GETROUTE, NEWADDR = 18, 17, 26, 20
ERROR, DONE, INTERRUPTED = 2, 3, 0x10


def test_the_kernel_answers() -> None:
    """A list, one of it, a table that there is not, which the end of a list tells, and changes that are refused."""
    netlink, forms = Rtnetlink(), messages()
    links = netlink.dump(GETLINK, forms.link, {})
    assert {link.get_attr("IFLA_IFNAME") for link in links} == {name for _, name in socket.if_nameindex()}
    assert netlink.ask(GETLINK, forms.link, {}, {"IFLA_IFNAME": "lo"})["index"] == 1
    with pytest.raises(OSError, match="No such file") as raised:
        netlink.dump(GETROUTE, forms.route, {"family": socket.AF_INET}, {"RTA_TABLE": 4_000_000_000})
    assert raised.value.errno == errno.ENOENT
    with pytest.raises(OSError, match=r"\w") as raised:
        netlink.change(DELLINK, forms.link, {"index": 0x7FFFFFF0}, {})
    assert raised.value.errno == (errno.EPERM if os.geteuid() else errno.ENODEV)
    assert netlink.ask(GETLINK, forms.link, {"index": 1}, {}).get_attr("IFLA_IFNAME") == "lo", "answers are told apart"
    netlink.close()


class Kernel:
    """In place of the socket: answers that are not what was asked for are left out, as the kernel numbers them."""

    def __init__(self, *reads: list[tuple[int, int, bytes]]) -> None:
        self.reads = list(reads)
        self.asked: list[bytes] = []

    def send(self, data: bytearray) -> None:
        self.asked.append(bytes(data))

    def recv(self, _: int) -> bytes:
        if not self.reads:
            raise BlockingIOError
        sequence = int.from_bytes(self.asked[-1][8:12], sys.byteorder)
        return b"".join(
            struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body
            for kind, flags, body in self.reads.pop(0)
        )


def answered(*reads: list[tuple[int, int, bytes]]) -> tuple[Any, Kernel]:
    netlink, kernel = Rtnetlink(), Kernel(*reads)
    netlink.close()
    netlink.socket = kernel  # type: ignore[assignment]
    return netlink, kernel


LINK = (16, 0, struct.pack("=BxHiII", 0, 1, 7, 1, 0))
END = (DONE, 0, bytes(4))


def test_a_list_that_changes_is_asked_for_again() -> None:
    changing = [(16, INTERRUPTED, LINK[2]), LINK]
    netlink, kernel = answered(changing, [END], [LINK], [LINK, END])
    assert len(netlink.dump(GETLINK, messages().link, {})) == 2
    assert len(kernel.asked) == 2
    netlink, kernel = answered(*[[*changing, END]] * 99)
    assert len(netlink.dump(GETLINK, messages().link, {})) == 2, "what never rests is told all the same"
    assert 2 < len(kernel.asked) < 99


@pytest.mark.parametrize("kind", [ERROR, DONE])
def test_a_refusal(kind: int) -> None:
    netlink, _ = answered([LINK], [(kind, 0, struct.pack("=i", -errno.EOPNOTSUPP))])
    with pytest.raises(OSError, match="not supported") as raised:
        netlink.dump(GETLINK, messages().link, {})
    assert raised.value.errno == errno.EOPNOTSUPP


@pytest.mark.parametrize("read", [[], [LINK], [(16, 0, b"short")]])
def test_no_end(read: list[tuple[int, int, bytes]]) -> None:
    netlink, _ = answered(read)
    with pytest.raises(OSError, match=r"no answer|can't be read") as raised:
        netlink.change(NEWADDR, messages().link, {}, {})
    assert raised.value.errno == errno.EPROTO
