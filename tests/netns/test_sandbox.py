"""The daemon in its sandbox: what it has given up, and that all it has to do still works. dropin: 5, 12, 14, 21."""

import os
import re
import signal
from pathlib import Path

import pytest

from bench.tunnel import traffic
from bench.tunnel.command import CommandError
from bench.tunnel.implementations import Implementation, find
from bench.tunnel.lab import Lab
from bench.tunnel.site import Site, poll
from pywg.runtime.confine import landlock
from tests.processes import descriptors

from .conftest import OpenLab
from .inner_udp import Wire, payload
from .without_sandbox import SANDBOXED

pytestmark = pytest.mark.dropin("21")

NET_BIND_SERVICE_AND_NET_ADMIN = 1 << 10 | 1 << 12
ASKED_FOR = {
    *({"sandbox_user", "sandbox_capabilities"} if os.environ.get("PYWG_USER") else ()),
    *({"sandbox_net_admin_dropped", "sandbox_capabilities"} if os.environ.get("PYWG_DROP_NET_ADMIN") == "1" else ()),
}
"""What holds even where the sandbox is off: by the environment of the tests."""
ALL_ON = {f"sandbox_{name}": "1" for name in ("no_new_privs", "capabilities", "seccomp", "seccomp_threads")}


STAGED = 100
"""Packets; fewer than may wait for a peer."""


def _stats(site: Site) -> dict[str, str]:
    """What `pywg stats` shows, however the daemon was started."""
    shown = site.namespace.run(find("pywg").command[0], "stats", site.interface)
    return dict(line.split("=", 1) for line in shown.splitlines())


def _closed(site: Site) -> None:
    """The sandbox closes in the turn of the loop after the daemon is ready."""
    poll(lambda: _stats(site)["sandbox_seccomp"] == str(int(SANDBOXED)), "the sandbox is closed")


def _threads(site: Site) -> dict[str, dict[str, str]]:
    """Of each thread, what its /proc status says."""
    found = {}
    for task in Path(f"/proc/{site.pid}/task").iterdir():
        lines = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        found[lines["Name"].strip()] = {key: value.strip() for key, value in lines.items()}
    return found


def _without_uvloop() -> Implementation:
    """pywg on the standard library's event loop."""
    python = str(Path(find("pywg").command[0]).parent / "python")
    program = "import sys; sys.modules['uvloop'] = None; from pywg.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return Implementation("pywg-asyncio", (python, "-c", program, "-f"))


def test_every_thread_has_given_up_all_but_net_admin(open_lab: OpenLab) -> None:
    site = open_lab("pywg", None, connect=False).near
    _closed(site)
    threads = _threads(site)
    assert set(threads) == {"pywg", "pywg-tx", "pywg-rx"}
    for name, status in threads.items():
        own = NET_BIND_SERVICE_AND_NET_ADMIN if name == "pywg" else 0  # the data plane's need none
        assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == own
        assert int(status["CapBnd"], 16) == NET_BIND_SERVICE_AND_NET_ADMIN
        assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert status.get("Seccomp_filters", "2") == "2"  # against io_uring, and its own; from Linux 5.9
    stats = _stats(site)
    assert {name: stats[name] for name in ALL_ON} == ALL_ON
    assert int(stats["sandbox_landlock"]) == landlock.abi()


def test_no_io_uring_is_open(open_lab: OpenLab) -> None:
    """What is done through one passes no filter."""
    site = open_lab("pywg", None, connect=False).near
    links = descriptors(site.pid).values()
    assert any("eventfd" in link for link in links)
    assert not [link for link in links if "io_uring" in link]


def test_it_can_be_turned_off(open_lab: OpenLab) -> None:
    pywg = find("pywg")
    for off in (
        Implementation("pywg-environment", pywg.command, {"PYWG_SANDBOX": "0"}),
        Implementation("pywg-option", (*pywg.command, "--no-sandbox")),
    ):
        site = open_lab(off, None, connect=False).near
        holds = {name: value for name, value in _stats(site).items() if name.startswith("sandbox_")}
        assert {holds.pop(name) for name in list(holds) if name.endswith("_last")} == {"-1"}
        assert {name for name, value in holds.items() if value != "0"} == ASKED_FOR
        assert {status["Seccomp"] for status in _threads(site).values()} == {"0"}


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_everything_still_works(loop: str, open_lab: OpenLab) -> None:
    end = "pywg" if loop == "uvloop" else _without_uvloop()
    lab = open_lab(end, "pywg", psk=True)
    lab.establish()
    near, far = lab.near, lab.far
    for site in lab.sites:
        _closed(site)
    with Wire(near, far) as there, Wire(far, near) as back:
        for change in (["listen-port", "4444"], ["listen-port", "444"], ["fwmark", "9"], ["fwmark", "0"]):
            near.wg("set", near.interface, *change)
            there.check([payload(size) for size in range(50)])  # its first packet tells far where near is now
            back.check([payload(size) for size in range(50)])
        assert near.wg("show", near.interface, "listen-port").strip() == "444"
        _restart_link(lab, near)
        poll(lambda: _arrives(there), "datagrams arrive after down and up")
        back.check([payload(size) for size in range(50)])
        near.wg("set", near.interface, "peer", far.keys.public, "remove")
        near.add_peer(far, preshared_key=lab.preshared_key, endpoint=4)
        poll(lambda: _arrives(there), "datagrams arrive after a new start of the session")
    near.ip("link", "set", near.interface, "mtu", "1300")
    poll(lambda: _stats(near)["mtu"] == "1300", "the new MTU is seen")


def _restart_link(lab: Lab, site: Site) -> None:
    site.ip("link", "set", site.interface, "down")
    site.await_link(up=False)  # until then the session of before may carry a packet, once it is up
    site.ip("link", "set", site.interface, "up")
    site.ip("address", "replace", f"{site.inner(6)}/64", "dev", site.interface, "nodad")


def _arrives(wire: Wire) -> bool:
    try:
        wire.check_alive()
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("way", ["SIGTERM", "SIGINT", "link", "socket"])
def test_its_end_is_clean(way: str, open_lab: OpenLab) -> None:
    lab = open_lab("pywg", "pywg")
    lab.establish()
    site = lab.near
    _closed(site)
    with traffic.background(lab.near, lab.far, lab.far.inner(4)):
        if way == "link":
            site.ip("link", "del", site.interface)
        elif way == "socket":
            site.uapi_socket.unlink()
        else:
            os.kill(site.pid, signal.Signals[way])
        assert site.daemon is not None
        assert site.daemon.wait(10) == 0, site.log_tail()
    assert site.log_tail() == ""
    assert not site.uapi_socket.exists()
    assert site.interface not in site.ip("-o", "link")


def test_in_another_namespace_it_is_still_followed(open_lab: OpenLab) -> None:
    """Hearing from there took CAP_NET_BROADCAST, once."""
    lab = open_lab("pywg", None, connect=False)
    near, elsewhere = lab.near, lab.far.namespace
    _closed(near)
    near.ip("link", "set", near.interface, "netns", elsewhere.name)
    elsewhere.run("ip", "link", "set", near.interface, "up")
    poll(lambda: _stats(near)["up"] == "1", "up is seen from the other namespace")
    elsewhere.run("ip", "link", "del", near.interface)
    assert near.daemon is not None
    assert near.daemon.wait(10) == 0


def test_in_another_namespace_senders_are_told_there(open_lab: OpenLab) -> None:
    """And not by way of the namespace that the daemon is in, which has a route to the same address."""
    lab = open_lab("pywg", None, connect=False)
    near, elsewhere = lab.near, lab.far.namespace
    near.ip("link", "set", near.interface, "netns", elsewhere.name)
    elsewhere.run("ip", "address", "add", "10.79.0.1/24", "dev", near.interface)
    near.ip("route", "add", "10.79.0.0/24", "dev", "lo")
    elsewhere.run("ip", "link", "set", near.interface, "up")
    poll(lambda: _stats(near)["up"] == "1", "up is seen from the other namespace")
    answer = elsewhere.run("sh", "-c", "ping -c 1 -W 5 10.79.0.99 || true")
    assert "Destination Host Unreachable" in answer


def test_a_privileged_port_without_the_privilege(open_lab: OpenLab) -> None:
    pywg = find("pywg")
    dropped = ("setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-all")
    site = open_lab(Implementation("pywg-unprivileged", (*dropped, *pywg.command)), None, connect=False).near
    site.ip("link", "set", site.interface, "up")
    with pytest.raises(CommandError, match=re.escape("Permission denied")):
        site.wg("set", site.interface, "listen-port", "444")
    site.wg("set", site.interface, "listen-port", "4444")
    assert site.alive()


def test_memory_of_staged_packets_goes_back_without_a_look_at_files(open_lab: OpenLab) -> None:
    """glibc reads a file when it first gives memory of a thread's heap back: it has done so before the filters."""
    lab = open_lab("pywg", None, connect=False)
    near = lab.near
    near.configure(65535)
    near.add_peer(lab.far, endpoint=4)
    send = f"import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.connect(('{lab.far.inner(4)}', 9))\n"
    send += f"for _ in range({STAGED}): s.send(bytes(60000))"
    near.namespace.run("python3", "-c", send)
    poll(lambda: int(near.stats()["counter_tx_packets"]) >= STAGED, "all wait for a session")
    held = resident(near)
    near.wg("set", near.interface, "peer", lab.far.keys.public, "remove")
    poll(lambda: resident(near) < held - STAGED * 30000, "the memory is the system's again")
    assert near.stats()["sandbox_refused"] == "0"


def resident(site: Site) -> int:
    """Bytes of memory that the daemon has."""
    (kib,) = re.findall(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{site.pid}/status").read_text(), re.M)
    return int(kib) * 1024
