"""The protocol's clock in a daemon that runs: CLOCK_BOOTTIME, which a time namespace can set far ahead."""

import subprocess
from dataclasses import replace

import pytest

from bench.tunnel.implementations import find
from bench.tunnel.site import poll

from . import dropin
from .conftest import OpenLab
from .dropin import nft
from .outer_link import TRANSPORT, Link, two_initiations

pytestmark = pytest.mark.dropin("time")

UP_FOR_S = 1_000_000_000


def test_machine_that_has_been_up_for_30_years(pywg: str, open_lab: OpenLab) -> None:
    """A session, a keepalive every second, and the retries of a handshake 5 s after each other."""
    namespace = ["unshare", "--time", "--boottime", str(UP_FOR_S), "--"]
    if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode:
        pytest.xfail("this kernel has no time namespaces")
    plain = find("pywg")
    lab = open_lab(replace(plain, command=(*namespace, *plain.command)), "pywg")
    lab.establish()
    near, far = lab.near, lab.far
    near.wg("set", near.interface, "peer", far.keys.public, "persistent-keepalive", "1")
    with Link(near) as link:
        poll(lambda: len(link.sent(TRANSPORT)) >= 3, "keepalives")
        near.wg("set", near.interface, "peer", far.keys.public, "persistent-keepalive", "off")
        near.ip("link", "set", near.interface, "down")
        near.await_link(up=False)  # or the session of before stays
        nft(far, "table inet f {", "chain in { type filter hook input priority 0; meta l4proto udp drop;", "}", "}")
        near.ip("link", "set", near.interface, "up")
        two_initiations(near, link, lambda: dropin.kick(near, far.inner(4)))
