"""Whole tunnels between daemons that were built with the compiler's sanitizers (tests/sanitizers.py)."""

import contextlib
import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bench.tunnel import traffic
from bench.tunnel.command import CommandError, run
from bench.tunnel.implementations import Implementation
from bench.tunnel.lab import Lab
from bench.tunnel.site import Keys
from bench.tunnel.transfer import exchange
from tests.sanitizers import ADDRESS, THREAD, Sanitizer, said

from . import dropin
from .conftest import OpenLab

Ends = tuple[Mapping[str, str], Mapping[str, str]]

SECONDS = 3.0
CHANGE_EACH = 0.05
EXCHANGED = 16 << 20
ENDS = {
    "two threads": ({"PYWG_THREADS": "2"}, {"PYWG_THREADS": "2"}),
    "shards with helpers, and helpers": ({"PYWG_THREADS": "6", "PYWG_SHARDS": "2"}, {"PYWG_THREADS": "4"}),
}
"""What both daemons are told."""
both = pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)


def _daemons(sanitizer: Sanitizer, report: Path, ends: Ends) -> Iterator[Implementation]:
    for told in ends:
        # The sandbox would not let it write its report.
        env = {**told, "PYWG_SANDBOX": "0"}
        yield Implementation("pywg-sanitized", sanitizer.command(report, "-m", "pywg", "-f"), env)


def _changes(lab: Lab) -> AbstractContextManager[None]:
    """Peers, prefixes, ports and endpoints change at both ends."""
    numbers = itertools.count(1)

    def change() -> None:
        number = next(numbers)
        key = f"public_key={number:064x}"
        lines = ("endpoint=127.0.0.1:9", "persistent_keepalive_interval=1", "allowed_ip=10.9.0.0/24")
        for site in lab.sites:
            assert dropin.set_(site, key, *lines) == 0
            if number % 10 == 0:
                assert dropin.set_(site, key, "remove=true") == 0
        if number % 25 == 0:
            assert dropin.set_(lab.near, f"listen_port={40000 + number}") == 0
        time.sleep(CHANGE_EACH)

    return dropin.repeated(change)


@pytest.mark.timeout(900)
@both
@pytest.mark.parametrize("sanitizer", [ADDRESS, THREAD], ids=lambda one: one.name)
def test_sanitizer_has_nothing_to_say(sanitizer: Sanitizer, ends: Ends, open_lab: OpenLab, tmp_path: Path) -> None:
    sanitizer.build()
    report = tmp_path / "report"
    lab = open_lab(*_daemons(sanitizer, report, ends), psk=True)
    lab.establish(60)
    near, far = lab.sites
    assert near.stats()["shards"] == ends[0].get("PYWG_SHARDS", "1")
    with _changes(lab), traffic.pinging(near, far.inner(4), 0.005):
        traffic.tcp(near, far, far.inner(4), SECONDS, streams=4, mode="bidir")
        traffic.udp(near, far, far.inner(6), SECONDS, size=64, bits_per_s=50e6)
    exchange(near.namespace, far.namespace, far.inner(4), EXCHANGED)
    assert said(report) == []
    assert lab.near.alive()
    assert lab.far.alive()


def _unrest(lab: Lab) -> AbstractContextManager[None]:
    """All that carries the tunnel changes under it: keys, preshared keys, prefixes, MTU, port, and the interface."""
    near, far = lab.sites
    numbers = itertools.count(1)

    def another_key() -> None:
        before, near.keys = near.keys.public, Keys.generate()
        near.wg("set", near.interface, "private-key", near.secret_file("key", near.keys.private))
        far.wg("set", far.interface, "peer", before, "remove")
        far.add_peer(near, preshared_key=lab.preshared_key)

    def another_preshared_key() -> None:
        lab.preshared_key = run("wg", "genpsk").strip()
        near.add_peer(far, preshared_key=lab.preshared_key)
        far.add_peer(near, preshared_key=lab.preshared_key)

    def other_prefixes() -> None:
        for prefixes in (f"{far.inner(4)}/32,10.9.0.0/24", f"{far.inner(4)}/32,{far.inner(6)}/128"):
            near.wg("set", near.interface, "peer", far.keys.public, "allowed-ips", prefixes)

    def another_port() -> None:
        near.wg("set", near.interface, "listen-port", str(40000 + next(numbers) % 1000))

    def another_mtu() -> None:
        for mtu in (1300, lab.mtu):
            far.ip("link", "set", far.interface, "mtu", str(mtu))

    def down_and_up() -> None:
        near.ip("link", "set", near.interface, "down")
        near.ip("link", "set", near.interface, "up")

    def peer_goes_and_comes() -> None:
        near.wg("set", near.interface, "peer", far.keys.public, "remove")
        near.add_peer(far, preshared_key=lab.preshared_key, endpoint=lab.outer)

    changes = (peer_goes_and_comes, other_prefixes, another_mtu, another_port, another_preshared_key, other_prefixes,
               down_and_up, another_mtu, another_key)  # fmt: skip

    def change() -> None:
        changes[next(numbers) % len(changes)]()
        time.sleep(CHANGE_EACH)

    return dropin.repeated(change)


@pytest.mark.timeout(7200)
@both
def test_no_race_while_everything_changes(
    ends: Ends, open_lab: OpenLab, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    THREAD.build()
    report = tmp_path / "report"
    lab = open_lab(*_daemons(THREAD, report, ends), psk=True)
    lab.establish(60)
    near, far = lab.sites
    until = time.monotonic() + pytestconfig.getoption("--unrest-seconds")
    with _unrest(lab), traffic.pinging(near, far.inner(4), 0.005):
        while time.monotonic() < until:
            with contextlib.suppress(CommandError):  # a stream may end while nothing goes through
                traffic.tcp(near, far, far.inner(4), SECONDS, streams=2, mode="bidir")
    lab.establish(60)
    exchange(near.namespace, far.namespace, far.inner(4), EXCHANGED)
    assert said(report) == []
    assert lab.near.alive()
    assert lab.far.alive()
