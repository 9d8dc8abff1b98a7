"""docs/uapi.md has every operation and key of the configuration socket, both ways, and none that there is not."""

import errno
import re
from collections.abc import Generator, Iterable
from pathlib import Path

from pywg.config import uapi
from pywg.config.model import DeviceStatus, PeerStatus, PeerTrouble
from pywg.runtime.base.feed import SUBSCRIBERS_PER_SOCKET
from pywg.runtime.uapi import monitor, server

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "uapi.md").read_text()
PEER = PeerStatus(bytes(32), endpoint=(bytes(4), 1, 0), allowed_ips=[(bytes(4), 0)])
STATUS = DeviceStatus(private_key=bytes([1] * 32), listen_port=1, fwmark=1, peers=[PEER])


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def keys(title: str) -> list[set[str]]:
    """What stands in the first column of each table of a section."""
    tables = re.findall(r"^\|.*\|\n\|-.*\n((?:\|.*\n)+)", section(title), re.M)
    return [set(re.findall(r"`([\w=]+)`", "".join(re.findall(r"^\|([^|]+)\|", table, re.M)))) for table in tables]


def text_of(names: Iterable[bytes]) -> set[str]:
    return {name.decode() for name in names}


def written(reply: bytearray) -> set[str]:
    """The keys of a reply."""
    return {line.partition("=")[0] for line in reply.decode().splitlines()}


def finish(steps: Generator[None, None, bytearray]) -> bytearray:
    """The result of a generator of steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return bytearray(end.value)


def test_every_operation_has_a_row() -> None:
    (rows,) = keys("Framing")
    assert rows == {"get=1", "set=1", "stats=1", "peers=1", "events=1", "handover=1", "log_level=WORD"}
    begins = tuple(name.rstrip(b"\n").decode() for name in server.UapiServer._operations)
    assert {next(begin for begin in begins if row.startswith(begin)) for row in rows} == set(begins)


def test_every_key_that_can_be_set_has_a_row() -> None:
    interface, peer = keys("set")
    assert interface == text_of(uapi._DEVICE_KEYS)
    assert peer == text_of({*uapi._PEER_KEYS, b"public_key", b"allowed_ip"})


def test_every_key_that_is_told_has_a_row() -> None:
    interface, peer = keys("get")
    assert interface | peer == written(finish(uapi.format_get_steps(STATUS)))
    assert interface == {"private_key", "listen_port", "fwmark"}
    (trouble,) = keys("peers")
    assert trouble == written(finish(uapi.format_troubles_steps([PeerTrouble(bytes(32), 1, 1, "x")])))


def test_what_monitors_may_ask_is_said() -> None:
    said = section("The socket for monitors")
    assert [name.decode().strip() for name in monitor.MonitorServer._operations] == re.findall(r"`(\w+=1)`", said)
    without = written(finish(uapi.format_get_steps(STATUS))) - written(
        finish(uapi.format_get_steps(STATUS, keys=False))
    )
    assert without == {"private_key", "preshared_key"} == set(re.findall(r"`(\w+_key)`", said))
    assert (monitor.REST, "a quarter" in said) == (3, True)


def test_limits_and_errors_are_the_codes() -> None:
    said = section("Errors")
    assert f"more than {server.MAX_REQUEST_LEN >> 20} MiB ({monitor.MAX_QUESTION_LEN >> 10} KiB" in said
    assert f"{server.MAX_CONNECTIONS} connections are open ({monitor.MAX_MONITORS})" in said
    assert f"for {server.SEND_TIMEOUT_S:.0f} s" in said
    assert f"{SUBSCRIBERS_PER_SOCKET} clients of this socket" in said
    sources = "".join(Path(str(module.__file__)).read_text() for module in (server, monitor, uapi))
    raised = set(re.findall(r"\b(E[A-Z]{3,})\b", re.sub(r'""".*?"""', "", sources, flags=re.S))) & set(dir(errno))
    assert raised - {"EIO"} <= set(re.findall(r"\bE[A-Z]+\b", said))
    assert {"EINVAL", "EPROTO", "EBUSY", "ENOMEM", "EACCES"} <= raised
