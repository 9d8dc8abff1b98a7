"""The screen of `pywg status`: it fits, says what is wrong, and shows all where nothing bounds it."""

import re
from dataclasses import replace

import pytest

from pywg.manage.sight import Rates, Sight, rates
from pywg.manage.status_text import Room, interface_lines, painted
from pywg.manage.units import cells
from tests.manage import made

MANY = 1000


def shown(sight: Sight, *, columns: int = 80, lines: int | None = 24, speed: Rates | None = None) -> list[str]:
    return painted(interface_lines(sight, speed, Room(columns, lines)), color=False).splitlines()


def fact(lines: list[str], label: str) -> str:
    (found,) = [line.split(label, 1)[1].strip() for line in lines if line.startswith(f"  {label} ")]
    return found


@pytest.mark.parametrize("columns", [40, 59, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("peers", [0, 1, 5, 50, MANY])
@pytest.mark.parametrize("lines", [24, 40, None])
def test_it_fits_the_screen(columns: int, peers: int, lines: int | None) -> None:
    before, after = made.sight(peers, tick=9), made.sight(peers, tick=10)
    found = shown(after, columns=columns, lines=lines, speed=rates(before, after))
    assert max(map(cells, found)) <= columns
    assert "\x1b" not in "".join(found)
    if lines is None:
        assert sum(" up, " in line or " idle, " in line for line in found) >= peers - 2
    elif columns >= 80:
        assert len(found) <= lines


def test_a_narrow_screen_has_what_matters() -> None:
    """At 40 columns: names, verdicts and rates, without endpoints."""
    before, after = made.sight(3, tick=9), made.sight(3, tick=10)
    found = "\n".join(shown(after, columns=40, lines=None, speed=rates(before, after)))
    assert re.search(r"^  peer +handshake +rx/s +tx/s$", found, re.M)
    assert re.search(r"^  berlin +up, \S+ s ago +[0-9.]+[GMK] +[0-9.]+[GMK]$", found, re.M)


def test_what_is_left_out_is_told() -> None:
    last = shown(made.sight(MANY))[-1]
    (count,) = re.findall(r"^  and (\d+) peers more", last)
    assert MANY - 10 < int(count) < MANY
    assert "--all" in last


def test_rates_are_bits_a_second_and_totals_bytes() -> None:
    before, after = made.sight(1, tick=9), made.sight(1, tick=10)
    found = shown(after, speed=rates(before, after))
    grown = after.status.peers[0].rx_bytes - before.status.peers[0].rx_bytes
    assert fact(found, "traffic").startswith(f"received {8 * grown / 1e9:.2f} Gb/s, ")
    assert found[-1].split()[-4] == f"{8 * grown / 1e9:.2f}G"
    assert "rx/s" not in "".join(shown(after))


def test_names_and_keys() -> None:
    found = "\n".join(shown(made.sight(8), lines=None))
    assert "\n  berlin " in found
    assert re.search(r"^  \S{4}…\S{4} ", found, re.M)  # the sixth has no name


def test_a_name_of_any_length_and_script() -> None:
    sight = made.sight(3)
    sight.names = {made.key(0): "a" * 300, made.key(1): "東京" * 40}
    found = shown(sight)
    assert max(map(cells, found)) <= 80
    assert any(line.startswith("  aaaaaaaa") and "…" in line for line in found)


@pytest.mark.parametrize(
    ("changed", "label", "text"),
    [
        ({"aead_asked": "evp", "aead": "evp"}, "cipher", "evp, because PYWG_AEAD names it"),
        ({}, "cipher", "ifma, the fastest here beside evp, libcrypto, avx2, avx512"),
        ({"offload_coalesce_udp": "1"}, "offloads", "all 7 on"),
        ({}, "offloads", "off: coalesce_udp; the other 6 on"),
        ({"sandbox_landlock": "0"}, "sandbox", "without landlock, keys locked"),
        ({"sandbox_refused": "3"}, "sandbox", "whole, keys locked in memory, 3 calls refused: see the log"),
        ({"sandbox_refused": "-1"}, "sandbox", "whole, keys locked in memory"),
        ({"secrets_locked": "0"}, "sandbox", "whole, keys may be swapped: see the log"),
        ({"sockets_open": "0"}, "sockets", "none: the UDP port can't be had"),
        ({"counter_tx_no_peer": "0", "counter_rx_source_not_allowed": "0"}, "drops", "none"),
        ({"counter_tx_no_peer": "12345"}, "drops", "12,345 tx_no_peer: packets to an address that no peer has"),
    ],
)
def test_facts(changed: dict[str, str], label: str, text: str) -> None:
    sight = made.sight(1)
    sight.stats.update(changed)
    assert fact(shown(sight, columns=120), label).startswith(text)


def test_every_drop_has_its_hint_and_only_two_on_a_screen() -> None:
    sight = made.sight(1)
    sight.stats |= {f"counter_{name}": "7" for name in ("rx_forged", "rx_replayed", "tx_malformed")}
    found = shown(sight, columns=120)
    assert sum(line.strip().startswith("→ ") for line in found) == 2
    assert "and 2 more: --all" in "".join(found)
    assert sum(line.strip().startswith("→ ") for line in shown(sight, columns=120, lines=None)) == 4


def test_an_interface_that_is_down_says_what_takes_it_up() -> None:
    sight = made.sight(1)
    sight.stats["up"] = "0"
    assert "`ip link set wg0 up`" in shown(sight)[0]


def test_another_daemon_tells_less_and_nothing_is_made_up() -> None:
    sight = replace(made.sight(3), stats={}, troubles={}, public_key=None, private_key_is_set=False, here=False)
    found = shown(sight)
    assert fact(found, "addresses") == "the interface is in another network namespace"
    assert fact(found, "public key").startswith("none")
    assert not [line for line in found if re.match("  (cipher|sandbox|drops|runs with)", line)]
    assert any("up, 9 s ago" in line for line in found)


def test_colors_are_all_that_differs() -> None:
    lines = interface_lines(made.sight(5), None, Room(80, 24))
    colored = painted(lines, color=True)
    assert "\x1b[1;31m" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored).replace(" ", "") == painted(lines, color=False).replace(" ", "")
