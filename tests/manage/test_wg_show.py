"""The output of `wg show` where the real one can't be had: long ages, a clock that went back, keys that aren't told.

tests/netns/test_seeing.py has the real one beside it.
"""

import pytest

from pywg.config.model import DeviceStatus, PeerStatus
from pywg.dataplane.crypto.secret import Secret
from pywg.manage.wg_show import COLUMNS, View, columns, pretty

NOW = 2_000_000_000
PRIVATE, PRESHARED, PUBLIC = bytes(range(32)), bytes(range(64, 96)), bytes(range(128, 160))
BASE64 = {
    PRIVATE: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    PUBLIC: "gIGCg4SFhoeIiYqLjI2Oj5CRkpOUlZaXmJmam5ydnp8=",
}


def device(*peers: PeerStatus) -> DeviceStatus:
    return DeviceStatus(private_key=Secret(PRIVATE), listen_port=51820, fwmark=0xCA6C, peers=list(peers))


def line(peer: PeerStatus, what: str) -> str:
    shown = pretty(View("wg0", device(peer), keys=True), color=False, now=lambda: NOW + 0.9)
    (found,) = [one for one in shown.splitlines() if one.startswith(f"  {what}: ")]
    return found.partition(": ")[2]


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (0, "Now"),
        (1, "1 second ago"),
        (63, "1 minute, 3 seconds ago"),
        (7200, "2 hours ago"),
        (366 * 86_400 + 61, "1 year, 1 day, 1 minute, 1 second ago"),
        (-1, "(System clock wound backward; connection problems may ensue.)"),
    ],
)
def test_ages(ago: int, words: str) -> None:
    assert line(PeerStatus(PUBLIC, last_handshake_ns=(NOW - ago) * 10**9 + 5), "latest handshake") == words


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1 << 20, "1.00 MiB"),
        (3 << 29, "1.50 GiB"),
        (1 << 52, "4096.00 TiB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert line(PeerStatus(PUBLIC, rx_bytes=count), "transfer") == f"{text} received, 0 B sent"


def test_colors_are_all_that_differs() -> None:
    view = View("wg0", device(PeerStatus(PUBLIC, allowed_ips=[(bytes(4), 0)], last_handshake_ns=10**9)), keys=True)
    colored, plain = pretty(view, color=True), pretty(view, color=False)
    assert "\x1b" not in plain
    assert colored.startswith("\x1b[0m\x1b[32m\x1b[1minterface\x1b[0m: \x1b[32mwg0\x1b[0m\n")
    assert "0.0.0.0\x1b[36m/\x1b[0m0" in colored


@pytest.mark.parametrize("what", [None, *COLUMNS])
@pytest.mark.parametrize("bare", [True, False])
def test_keys_that_are_not_told_are_hidden(what: str | None, bare: bool) -> None:
    """As a monitor sees them: it can't tell whether there are any."""
    view = View("wg0", DeviceStatus(peers=[PeerStatus(PUBLIC)]), keys=False, bare=bare)
    shown = pretty(view, color=False) if what is None else columns(view, what, named=False)
    assert "private key" not in shown
    if what == "dump":
        assert [row.split("\t")[:2] for row in shown.splitlines()] == [
            ["(hidden)", "(none)"],
            [BASE64[PUBLIC], "(hidden)"],
        ]
    elif what in ("private-key", "preshared-keys"):
        assert shown.endswith("(hidden)\n")


def test_keys_are_shown_where_they_are_asked_for() -> None:
    status = device(PeerStatus(PUBLIC, preshared_key=Secret(PRESHARED)))
    hidden = pretty(View("wg0", status, keys=True, bare=False), color=False)
    assert hidden.count("(hidden)") == 2
    assert BASE64[PRIVATE] not in hidden
    assert BASE64[PRIVATE] in pretty(View("wg0", status, keys=True, bare=True), color=False)
