"""Real tunnels with a daemon of another user, and without CAP_NET_ADMIN: what is essential, in each combination.

The whole suite runs so with PYWG_USER=nobody and PYWG_DROP_NET_ADMIN=1 in the environment of pytest;
without_net_admin.py says what the second one costs. dropin: 5, 12, 14, 17, 21.
"""

import inspect
import os
import pkgutil
import signal
from importlib import import_module

import pytest

import tests.netns
from bench.tunnel import traffic
from bench.tunnel.implementations import Implementation, find
from bench.tunnel.site import poll

from . import dropin
from .conftest import OpenLab
from .inner_udp import Wire, payload
from .without_net_admin import NEEDS_NET_ADMIN
from .without_sandbox import NEEDS_SANDBOX

pytestmark = pytest.mark.dropin("21")

COMBINATIONS = {
    "user": {"PYWG_SANDBOX": "1", "PYWG_USER": "nobody", "PYWG_DROP_NET_ADMIN": "0"},
    "user-without-net-admin": {"PYWG_SANDBOX": "1", "PYWG_USER": "nobody", "PYWG_DROP_NET_ADMIN": "1"},
}
"""Whatever the environment of pytest has."""


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_a_tunnels_life(combination: str, open_lab: OpenLab) -> None:
    end = Implementation("pywg", find("pywg").command, COMBINATIONS[combination])
    with_net_admin = COMBINATIONS[combination]["PYWG_DROP_NET_ADMIN"] == "0"
    lab = open_lab(end, end, psk=True)
    lab.establish()
    near, far = lab.near, lab.far
    for site in lab.sites:
        poll(lambda site=site: site.stats()["sandbox_seccomp"] == "1", "the sandbox is closed")  # type: ignore[misc]
        assert site.stats()["sandbox_user"] != "0"
        assert site.stats()["sandbox_root"] == "1"
    with Wire(near, far) as there, Wire(far, near) as back:
        changes = [["listen-port", "4444"], ["listen-port", "444"]]
        for change in [*changes, *([["fwmark", "9"], ["fwmark", "0"]] if with_net_admin else [])]:
            near.wg("set", near.interface, *change)
            there.check([payload(size) for size in range(50)])  # its first packet tells far where near is now
            back.check([payload(size) for size in range(50)])
    near.ip("link", "set", near.interface, "down")
    near.ip("link", "set", near.interface, "up")
    dropin.resumes(near, far.inner(4))
    assert near.wg("show", near.interface, "listen-port").strip() == "444"
    near.ip("link", "set", near.interface, "mtu", "1300")
    poll(lambda: near.stats()["mtu"] == "1300", "the new MTU is seen")
    near.wg("set", near.interface, "peer", far.keys.public, "remove")
    near.add_peer(far, preshared_key=lab.preshared_key, endpoint=4)
    dropin.resumes(near, far.inner(4))
    with traffic.background(near, far, far.inner(4)):
        os.kill(near.pid, signal.SIGTERM)
        assert near.daemon is not None
        assert near.daemon.wait(10) == 0, near.log_tail()
    assert not near.uapi_socket.exists()
    far.ip("link", "del", far.interface)
    assert far.daemon is not None
    assert far.daemon.wait(10) == 0, far.log_tail()
    assert not far.uapi_socket.exists()


def test_no_test_of_the_lists_is_gone() -> None:
    modules = [import_module(one.name) for one in pkgutil.walk_packages(tests.netns.__path__, "tests.netns.")]
    there = {name for module in modules for name, _ in inspect.getmembers(module, inspect.isfunction)}
    assert {name.partition("[")[0] for name in (*NEEDS_NET_ADMIN, *NEEDS_SANDBOX)} <= there
