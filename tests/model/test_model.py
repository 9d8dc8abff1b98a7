"""The data plane's threads in every order of their steps; and that faults put in by hand are found so."""

from pathlib import Path

import pytest

from tests.model.build import DRIVERS, build
from tests.model.planted import PLANTED
from tests.model.scenarios import SHORT

Built = dict[str, tuple[Path, Path]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    made: Built = {}
    for driver in DRIVERS:
        directory = tmp_path_factory.mktemp(driver)
        made[driver] = directory, build(directory, driver)
    return made


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SHORT)
def test_no_order_of_steps_is_at_fault(name: str, built: Built) -> None:
    explored = SHORT[name].run(*built[SHORT[name].driver])
    assert not explored.fault, str(explored)
    assert explored.complete
    assert explored.ends > 0
    assert explored.states > 500  # else there were no orders to speak of


@pytest.mark.parametrize(
    ("name", "counters"),
    [
        ("handed off and taken back", {"tx_lent", "tx_returned", "rx_packets"}),
        ("a helper that seals", {"tx_shared"}),
        ("helpers that seal and send in turns", {"tx_turns", "tx_turns_late"}),
        ("a helper that opens", {"rx_shared"}),
        ("a peer goes, with packets and messages", {"tx_no_peer", "rx_unknown_index"}),
        ("a session comes and goes, and its peer", {"tx_staged_dropped"}),
        ("two shards get the same messages", {"rx_packets", "rx_replayed"}),
        ("a peer goes while two shards send", {"tx_no_peer", "tx_datagrams"}),
        ("a peer goes while two shards deliver", {"rx_unknown_index", "rx_packets"}),
    ],
)
def test_the_scenarios_reach_what_they_are_for(name: str, counters: set[str], built: Built) -> None:
    explored = SHORT[name].run(*built[SHORT[name].driver])
    assert counters <= set(explored.reached)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, tmp_path: Path) -> None:
    planted = PLANTED[name]
    explored = planted.scenario.run(tmp_path, build(tmp_path, planted.scenario.driver, edit=planted.edit))
    assert explored.fault
    assert explored.fault.startswith(planted.fault)
    assert explored.trail
