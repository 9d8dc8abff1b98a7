"""Segmented sends that are refused: what they held goes out all the same, and soon nothing is segmented any more."""

import errno
import os
import shlex
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest

from bench.tunnel.command import run
from bench.tunnel.implementations import find
from bench.tunnel.lab import Lab
from bench.tunnel.site import LISTEN_PORT
from bench.tunnel.transfer import exchange

from . import dropin
from .conftest import OpenLab
from .dropin import nft
from .inner_udp import Wire, payload
from .outer_link import Link

pytest_generate_tests = dropin.parametrize_subject
BROKEN_PATH = pytest.mark.known_bug("GSO over a broken path")

SHIM = Path(__file__).with_name("refuse_gso.c")
FAMILIES = pytest.mark.parametrize("outer", [4, 6], ids=["over-v4", "over-v6"])


def _carries(lab: Lab) -> None:
    exchange(lab.near.namespace, lab.far.namespace, lab.far.inner(4), 3_000_000)
    with Wire(lab.near, lab.far) as wire:
        wire.check([payload(size) for size in (1392, 1300, 1200, 1)])


def _segments_no_more(lab: Lab, outer: int) -> None:
    """Refused, counted, turned off for the family in question alone; empty for daemons without statistics."""
    if stats := lab.near.stats():
        assert int(stats["counter_tx_gso_refused"]) >= 1
        assert stats["counter_tx_send_error"] == "0"
        assert (stats["offload_udp_gso4"], stats["offload_udp_gso6"]) == (("0", "1") if outer == 4 else ("1", "0"))


@BROKEN_PATH
@FAMILIES
@pytest.mark.dropin("path MTU")
@pytest.mark.lacks("wireguard-go-new", "what was in the refused sends is lost, and so is what follows")
@pytest.mark.timeout(60)
def test_packet_filter_that_refuses_long_packets(subject: str, outer: int, open_lab: OpenLab) -> None:
    """It sees a segmented send before it is cut, and the sender gets EPERM."""
    lab = open_lab(subject, subject, outer=outer)
    lab.establish()
    nft(
        lab.near,
        "table inet f {",
        f"chain out {{ type filter hook output priority 0; udp sport {LISTEN_PORT} meta length gt 1600 drop; }}",
        "}",
    )
    _carries(lab)
    _segments_no_more(lab, outer)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library to preload."""
    library = tmp_path_factory.mktemp("shim") / "refuse_gso.so"
    compiler = shlex.split(sysconfig.get_config_var("CC"))
    run(*compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SHIM), "-ldl")
    return str(library)


@BROKEN_PATH
@FAMILIES
@pytest.mark.parametrize("name", ["EIO", "EPERM", "EINVAL"])
def test_errors_of_drivers_and_kernels(pywg: str, shim: str, name: str, outer: int, open_lab: OpenLab) -> None:
    env = {"LD_PRELOAD": shim, "REFUSE_GSO": str(getattr(errno, name)), "PATH": os.environ["PATH"]}
    lab = open_lab(replace(find("pywg"), env=env), "pywg", outer=outer)
    lab.establish()
    _carries(lab)
    _segments_no_more(lab, outer)


SWITCHES = {
    "as-it-is": ((), {}, True),
    "option": (("--no-udp-gso",), {}, False),
    "environment": ((), {"PYWG_UDP_GSO": "0"}, False),
}


@FAMILIES
@pytest.mark.known_bug("No knob to turn GSO off")
@pytest.mark.parametrize("switch", SWITCHES)
def test_switch(pywg: str, switch: str, outer: int, open_lab: OpenLab) -> None:
    """Off: every send is one message, in the status and on a link that would show a train as what was sent."""
    options, env, on = SWITCHES[switch]
    plain = find("pywg")
    lab = open_lab(replace(plain, command=(*plain.command, *options), env=env), "pywg", outer=outer)
    lab.establish()
    with Link(lab.near, unsegmented=False) as link:
        exchange(lab.near.namespace, lab.far.namespace, lab.far.inner(4), 3_000_000)
        assert (max(len(one.message) for one in link.sent()) > lab.mtu + 32) == on
    stats = lab.near.stats()
    assert stats[f"offload_udp_gso{outer}"] == str(int(on))
    assert stats["counter_tx_gso_refused"] == "0"
