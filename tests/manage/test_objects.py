"""The JSON of show and status: docs/json.md names every field, and keys come when they are asked for alone."""

import json
import re
from pathlib import Path
from typing import Any

from pywg.config.model import DeviceStatus, PeerStatus
from pywg.dataplane.crypto.secret import Secret
from pywg.manage.objects import seen_interface, shown_interface
from pywg.manage.sight import rates
from pywg.manage.wg_show import View
from tests.manage import made

PAGE = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
PRIVATE, PRESHARED = bytes(range(32)), bytes(range(64, 96))
BASE64 = ("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=")


def section(command: str) -> set[str]:
    """The fields that a section of the page has in its tables."""
    text = PAGE.partition(f"\n## {command}")[2].partition("\n## ")[0]
    return set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]*)\|", text, re.M))))


def shown(*, told: bool = True, keys: bool = False) -> dict[str, Any]:
    peers = [PeerStatus(made.key(1), preshared_key=Secret(PRESHARED)), PeerStatus(made.key(2))]
    status = DeviceStatus(private_key=Secret(PRIVATE), listen_port=51820, peers=peers)
    return shown_interface(View("wg0", status, keys=told), told=told, keys=keys)


def seen(tick: int = 10) -> dict[str, Any]:
    before, after = made.sight(5, tick=tick - 1), made.sight(5, tick=tick)
    return seen_interface(after, rates(before, after))


def test_the_page_has_every_field_of_show_and_no_other() -> None:
    found = shown(keys=True)
    assert section("pywg show") == found.keys() | found["peers"][0].keys()


def test_the_page_has_every_field_of_status_and_no_other() -> None:
    found = seen()
    fields = found.keys() | found["peers"][0].keys() | {"interfaces", "refused", "kernel_interfaces"}
    common = shown()["peers"][0].keys() - {"preshared_key_set"}
    assert section("pywg status") == fields - common | {"rx_bytes", "tx_bytes", "public_key"}
    for name in ("daemon", "cipher"):
        row = re.findall(rf"^\| `{name}` \| (.*) \|$", PAGE, re.M)[0]
        assert all(f"`{field}`" in row for field in found[name])
    for state in ("up", "idle", "stale", "no answer", "connecting", "no handshake yet", "waits for it", "down"):
        assert f"`{state}`" in PAGE


def test_keys_come_when_they_are_asked_for_alone() -> None:
    assert not any(key in json.dumps(shown()) for key in BASE64)
    assert all(key in json.dumps(shown(keys=True)) for key in BASE64)
    assert shown()["private_key_set"] is True
    assert [peer["preshared_key_set"] for peer in shown()["peers"]] == [True, False]


def test_what_a_monitor_is_not_told_is_null() -> None:
    status = DeviceStatus(listen_port=1, peers=[PeerStatus(made.key(1))])
    found = shown_interface(View("wg0", status, keys=False), told=False, keys=True)
    assert (found["public_key"], found["private_key_set"], found["peers"][0]["preshared_key_set"]) == (None, None, None)
    assert "private_key" not in found
    assert "preshared_key" not in found["peers"][0]


def test_status_has_no_keys_at_all() -> None:
    assert not [name for name in seen() if name.endswith("_key") and name != "public_key"]


def test_values() -> None:
    found = json.loads(json.dumps(seen()))
    assert found["daemon"] == {
        "program": "pywg",
        "pid": 1234,
        "version": "0.1.0",
        "uptime_seconds": 273_660,
        "resident_bytes": 41_600_000,
    }
    assert found["cipher"]["available"][-1] == found["cipher"]["name"] == "ifma"
    assert found["offloads"]["coalesce_udp"] is False
    assert [drop["name"] for drop in found["drops"]] == ["rx_source_not_allowed", "tx_no_peer"]
    assert found["counters"]["tx_no_peer"] == 12
    berlin, _, lisbon, oslo, vienna = found["peers"]
    assert (berlin["name"], berlin["state"], berlin["detail"]) == ("berlin", "up", None)
    assert berlin["rx_bytes_per_second"] == made.sight(1, tick=10).status.peers[0].rx_bytes - (
        made.sight(1, tick=9).status.peers[0].rx_bytes
    )
    assert (lisbon["state"], lisbon["initiations_unanswered"], lisbon["latest_handshake"]) == ("no answer", 7, None)
    assert (oslo["endpoint"], oslo["state"]) == (None, "waits for it")
    assert vienna["endpoint"] == "[2001:db8::4]:51820"


def test_rates_that_were_not_taken_are_null() -> None:
    found = seen_interface(made.sight(1), None)
    assert found["rx_bytes_per_second"] is found["peers"][0]["tx_bytes_per_second"] is None
