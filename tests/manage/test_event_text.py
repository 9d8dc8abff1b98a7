"""What `pywg monitor` prints: docs/json.md has every field and event, and nothing that is told breaks a line."""

import json
import re
from pathlib import Path

import pytest

from pywg.config import uapi_events
from pywg.config.uapi_event_reader import MOST_EVENT, Event, EventReader
from pywg.config.uapi_events import format_event
from pywg.errors import UapiError
from pywg.manage.event_text import DISCONNECTED, event_line, event_object
from pywg.manage.reasons import REASONS
from tests.manage import made
from tests.manage.test_objects import section

PAGE = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
PART = PAGE.partition("\n## pywg monitor")[2].partition("\n## ")[0]
KEY = made.key(1)
FACTS = {
    "public_key": KEY.hex(),
    "endpoint": "192.0.2.1:1",
    "before": "192.0.2.2:2",
    "initiations": "2",
    "seconds": "7",
    "trouble": "no answer",
    "handshake_age": "200",
    "changed": "fwmark,peers",
    "events": "3",
}


def rows() -> dict[str, list[str]]:
    """The fields of each event, as the page has them."""
    found = {}
    for names, fields in re.findall(r"^\| (`[^|]*)\|[^|]*\|([^|]*)\|$", PART, re.M):
        for name in re.findall(r"`(\w+)`", names):
            found[name] = re.findall(r"`(\w+)`", fields)
    return found


def test_the_page_has_every_event_and_every_field() -> None:
    assert set(rows()) == {*uapi_events.NAMES, DISCONNECTED}
    whole = event_object("wg0", Event("x", 1.5, FACTS), {}) | event_object("wg0", Event("drops", 1.5, {"a": "1"}), {})
    assert section("pywg monitor") == whole.keys() | set(rows())


@pytest.mark.parametrize("name", [*uapi_events.NAMES, DISCONNECTED, "of_a_newer_daemon"])
def test_each_is_a_line_and_an_object(name: str) -> None:
    facts = {"rx_forged": "7"} if name == "drops" else {key: FACTS[key] for key in FACTS if key in rows().get(name, [])}
    line = event_line("wg0", Event(name, 1.5, facts), {KEY: "Berlin"})
    assert line.isprintable()
    found = json.loads(json.dumps(event_object("wg0", Event(name, 1.5, facts), {KEY: "Berlin"})))
    assert (found["time"], found["interface"], found["event"]) == (1.5, "wg0", name)
    if "public_key" in facts:
        assert "Berlin: " in line
        assert found["peer"] == "Berlin"
    if name == "drops":
        assert found["drops"] == {"rx_forged": 7}
        assert line.endswith(f"dropped or refused: 7 rx_forged ({REASONS['rx_forged'].meaning})")


def test_drops_are_counted_by_name() -> None:
    """A number before the words of a reason is wrong for one: "1 packets to ..."."""
    line = event_line("wg0", Event("drops", 1.5, {"tx_no_peer": "1", "of_a_newer_daemon": "2"}), {})
    assert line.endswith(f"1 tx_no_peer ({REASONS['tx_no_peer'].meaning}), 2 of_a_newer_daemon")


def test_what_is_written_is_read_however_it_comes() -> None:
    text = (
        format_event("one", 1.25, {"a": "x=y"}) + format_event("two", 2, {"b": "a\nevent=b\x1b\x7f"}) + b"errno=-16\n\n"
    )
    for size in (1, 3, len(text)):
        reader = EventReader()
        found = [event for at in range(0, len(text), size) for event in reader.take(text[at : at + size])]
        assert found == [Event("one", 1.25, {"a": "x=y"}), Event("two", 2.0, {"b": "a event=b  "})]
        assert reader.errno == 16


@pytest.mark.parametrize(
    "text",
    [
        *(b"event=a\n\n", b"time=1\n\n", b"event=a\ntime=x\n\n", b"event=a\ntime=nan\n\n", b"event=a\ntime=1\nb\n\n"),
        *(b"event=a\ntime=1\nb=\x1b[2J\n\n", b"errno=x\n\n", b"errno=\n\n", b"\n\n", b"x" * (MOST_EVENT + 1)),
    ],
)
def test_what_is_no_event_is_refused(text: bytes) -> None:
    with pytest.raises(UapiError):
        list(EventReader().take(text))
