"""A measurement counts only when the daemon's own counter confirms the bytes; the counter may lag, but not for long."""

import itertools
from collections.abc import Iterable
from typing import Any, cast

import pytest

from bench.tunnel import measure
from bench.tunnel.command import CommandError
from bench.tunnel.site import Site
from bench.tunnel.traffic import Throughput

RESULT = Throughput(8000.0, 1000)


class FakeSite:
    """A site whose counter of received bytes reads `counts`, one a look, and then stays at the last."""

    implementation = object()

    def __init__(self, counts: list[int]) -> None:
        self._counts: Iterable[int] = itertools.chain(counts, itertools.repeat(counts[-1]))

    def transferred(self) -> tuple[int, int]:
        return next(iter(self._counts)), 0


def _checked(counts: list[int]) -> Throughput:
    return measure.checked(cast(Site, FakeSite(counts)), lambda: RESULT)


def test_a_counter_that_is_there_at_once() -> None:
    assert _checked([500, 1500]) is RESULT


def test_a_counter_that_lags() -> None:
    assert _checked([500, 500, 900, 1500]) is RESULT


def test_bytes_that_went_another_way_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "COUNTERS_LAG_S", 0.2)
    with pytest.raises(CommandError, match="received 1000 bytes, but only 900"):
        _checked([500, 1400])


def test_a_bare_veth_has_no_counter() -> None:
    site: Any = FakeSite([0])
    site.implementation = None
    assert measure.checked(site, lambda: RESULT) is RESULT
