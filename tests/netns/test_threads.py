"""More than two plane threads, forced on however few processors: whole daemons, whole tunnels, every byte."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.tunnel import traffic
from bench.tunnel.implementations import Implementation, find
from bench.tunnel.site import Site, poll
from bench.tunnel.transfer import exchange

from .conftest import OpenLab

SECONDS = 1.5
EXCHANGED = 24 << 20


def _with_threads(number: int) -> Implementation:
    pywg = find("pywg")
    return replace(pywg, name=f"pywg-{number}", command=(*pywg.command, "--threads", str(number)))


def _threads(site: Site) -> dict[str, dict[str, str]]:
    """What /proc says of each thread, by its name."""
    found = {}
    for status in Path(f"/proc/{site.pid}/task").glob("*/status"):
        fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        found[fields["Name"]] = fields
    return found


@pytest.mark.parametrize(("number", "turns"), [(3, "0"), (4, "0"), (8, "1")])
def test_bulk_and_bytes_both_ways_with_helpers(open_lab: OpenLab, number: int, turns: str) -> None:
    """Under load helpers get batches; nothing is forged, replayed (so: overtaken by a whole window) or refused.

    `turns`: whether each thread sends what it has sealed, on however few processors.
    """
    with_threads = replace(_with_threads(number), env={"PYWG_TURNS": turns})
    lab = open_lab(with_threads, with_threads)
    lab.establish()
    for source, target in ((lab.near, lab.far), (lab.far, lab.near)):
        for family in (4, 6):
            result = traffic.tcp(source, target, target.inner(family), SECONDS, streams=2)
            assert result.bits_per_s > 0
    exchange(lab.near.namespace, lab.far.namespace, lab.far.inner(4), EXCHANGED)
    for site in lab.sites:
        stats = site.stats()
        assert stats["threads"] == str(number)
        assert int(stats["counter_tx_shared"]) > 0
        assert int(stats["counter_rx_shared"]) > 0
        assert stats["turns"] == turns
        assert (int(stats["counter_tx_turns"]) > 0) == (turns == "1")
        refused = ("rx_forged", "rx_replayed", "rx_malformed", "rx_source_not_allowed", "tx_seal_failed")
        assert {name: stats[f"counter_{name}"] for name in refused} == dict.fromkeys(refused, "0")


def test_helpers_are_in_the_sandbox_with_the_others(open_lab: OpenLab) -> None:
    site = open_lab(_with_threads(5), None, connect=False).near
    assert {"pywg-tx", "pywg-rx", "pywg-h0", "pywg-h1", "pywg-h2"} <= _threads(site).keys()
    poll(lambda: site.stats()["sandbox_seccomp"] == "1", "the sandbox is closed")
    assert site.stats()["sandbox_seccomp_threads"] == "1"
    assert {fields["Seccomp"] for fields in _threads(site).values()} == {"2"}
    assert {fields.get("Seccomp_filters", "2") for fields in _threads(site).values()} == {"2"}  # from Linux 5.9


def test_many_helpers_with_libcrypto_need_no_other_system_call(open_lab: OpenLab) -> None:
    """Each allocates its contexts: glibc counts processors before a ninth heap, which the filters would refuse."""
    many = _with_threads(14)
    lab = open_lab(replace(many, env={"PYWG_AEAD": "evp"}), many)
    lab.establish()
    exchange(lab.near.namespace, lab.far.namespace, lab.far.inner(4), EXCHANGED)
    stats = lab.near.stats()
    assert (stats["aead"], stats["sandbox_seccomp_threads"], stats["sandbox_refused"]) == ("evp", "1", "0")


def test_one_kind_talks_to_the_other(open_lab: OpenLab) -> None:
    """The wire has no trace of how many threads there are."""
    lab = open_lab(_with_threads(4), "pywg")
    lab.establish()
    exchange(lab.near.namespace, lab.far.namespace, lab.far.inner(6), EXCHANGED)
    assert lab.near.stats()["threads"] == "4"
