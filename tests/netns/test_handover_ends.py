"""Handover where something ends meanwhile, or where the daemon that goes wants more for the next than it has."""

import os
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel.implementations import find
from bench.tunnel.site import UAPI_DIR, poll
from pywg.runtime.base.in_use import daemon_of
from pywg.runtime.base.parcel import MEMFD_FLAGS
from pywg.runtime.daemon.take_over import Taking
from tests.runtime.handing_over import asking, hello

from .conftest import OpenLab
from .several import Machine, join, ping, two_machines


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    with two_machines(tmp_path, 2) as (near, far):
        for one in (near, far):
            one.start()
        for number in range(2):
            join(near, far, number)
            ping(near, number)
        yield near, far


def frozen(near: Machine) -> Taking:
    """A handover of both interfaces, asked for at the second, as far as they can come without its other end."""
    with near.namespace.entered():
        taking = Taking(near.names[1])
        taking.states()
        return taking


def test_an_interface_that_is_deleted_meanwhile_leaves_the_other_one_serving(
    machines: tuple[Machine, Machine],
) -> None:
    """The daemon that goes must not go on with what it has closed."""
    near, _ = machines
    taking = frozen(near)
    near.namespace.run("ip", "link", "del", near.names[0])
    poll(lambda: near.said(near.names[0], "the interface was deleted"), "it has ended")
    with pytest.raises(OSError, match=r"serve[ds] on"):
        taking.finish()
    taking.close()
    ping(near, 1)
    assert near.daemon is not None
    assert near.daemon.poll() is None
    assert not near.said(near.names[1], "internal error")
    near.namespace.run(find("pywg").command[0], "upgrade", near.names[1])
    assert near.daemon.wait(10) == 0
    ping(near, 1)


def test_a_signal_that_ends_it_meanwhile_ends_it(machines: tuple[Machine, Machine]) -> None:
    near, _ = machines
    taking = frozen(near)
    assert near.daemon is not None
    near.daemon.send_signal(signal.SIGTERM)
    assert near.daemon.wait(20) == 0
    with pytest.raises(OSError, match="has ended in the middle of the handover: nobody serves"):
        taking.finish()
    taking.close()
    for its in taking.interfaces:
        for fd in its.queues:
            os.close(fd)  # which keeps the interface
    assert all(near.gone(name) for name in near.names)
    assert not any(near.said(name, "internal error") for name in near.names)


def test_what_is_taken_over_leaves_no_parcel(open_lab: OpenLab, tmp_path: Path) -> None:
    """Nor does a log file, of a daemon that has no root directory any more, keep it from being taken over."""
    implementation = find("pywg")
    log = tmp_path / "near.log"
    command = (implementation.command[0], "-f", "--verbose", "--log-file", str(log), "--user", "nobody")
    lab = open_lab(type(implementation)("pywg", command), "pywg")
    lab.establish()
    lab.near.namespace.run(find("pywg").command[0], "upgrade", lab.near.interface)
    assert "taken over from PID" in log.read_text()
    assert lab.near.daemon is not None
    assert lab.near.daemon.wait(10) == 0
    daemon = daemon_of(lab.near.interface)
    assert daemon is not None
    maps = Path(f"/proc/{daemon.pid}/maps").read_text()
    assert "libcrypto" in maps, "the positive control"
    assert "memfd:pywg" not in maps


REFUSED = {
    "log_file={folder}/made": "doesn't write to",
    "user=nobody": "would run as user",
}


@pytest.mark.parametrize("given", REFUSED)
def test_the_new_daemon_is_given_no_more_than_the_old_one_has(open_lab: OpenLab, tmp_path: Path, given: str) -> None:
    """This process is the daemon that goes, and has been broken into."""
    lab = open_lab("pywg", "pywg", connect=False)
    name = f"rogue{os.getpid() % 100000}"
    path = UAPI_DIR / f"{name}.sock"
    parcel = os.memfd_create("pywg", MEMFD_FLAGS)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            upgrade = lab.near.namespace.start([find("pywg").command[0], "upgrade", name], stdout=-1, stderr=-2)
            client = asking(listener)
            with client, lab.near.namespace.entered():
                rights = struct.pack("=3i", parcel, parcel, parcel)
                said = hello([name.encode()], given=given.format(folder=tmp_path).encode())
                client.sendmsg([said], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                text = upgrade.communicate(timeout=30)[0].decode()
        assert upgrade.returncode == 1
        assert REFUSED[given] in text
        assert not (tmp_path / "made").exists()
    finally:
        path.unlink(missing_ok=True)
        os.close(parcel)
