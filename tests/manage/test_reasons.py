"""The table of reasons: every counter is in it, with words for an operator, or is one of what went well."""

import re
from pathlib import Path

import pytest

from pywg.core import events
from pywg.manage.reasons import REASONS, TRAFFIC, WENT_WELL, drops
from pywg.runtime.device.device import _word

from . import counters_page

COUNTERS = Path(__file__).parents[2] / "pywg" / "dataplane" / "state" / "counters.pxd"


def _counted() -> set[str]:
    """The data plane's, from its one list of them, and the control plane's, from the constants that are its reasons."""
    plane = set(re.findall(r"^    uint64_t (\w+)", COUNTERS.read_text(), re.M))
    refused = {value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)}
    return plane | {f"handshake_{_word(reason)}" for reason in refused}


def test_every_counter_has_its_words() -> None:
    counted = _counted()
    assert {"tx_no_peer", "rx_wait_error", "handshake_bad_response"} <= counted  # the search finds
    assert counted - REASONS.keys() - TRAFFIC == set()
    assert (REASONS.keys() | TRAFFIC) - counted == set()
    assert REASONS.keys() & TRAFFIC == set()


@pytest.mark.parametrize("name", REASONS)
def test_words_fit_a_line(name: str) -> None:
    reason = REASONS[name]
    for text in reason:
        assert text == text.strip(". ")
        assert 0 < len(text) <= 120


def test_drops_are_those_that_occurred() -> None:
    stats = {"counter_tx_no_peer": "3", "counter_rx_forged": "7", "counter_rx_replayed": "0", "counter_tx_packets": "9"}
    stats |= {"counter_of_tomorrow": "5", "peers": "2", "tx_no_peer": "8", "counter_rx_not_ip": "many"}
    assert [(drop.name, drop.times) for drop in drops(stats)] == [("rx_forged", 7), ("tx_no_peer", 3)]
    assert drops({}) == []


def test_every_counter_is_on_its_page() -> None:
    assert WENT_WELL.keys() == TRAFFIC
    assert counters_page.PAGE.read_text() == counters_page.page(), "python -m tests.manage.counters_page writes it"
