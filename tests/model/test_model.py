"""The data plane's threads in every order of their steps; and that faults put in by hand are found so."""

from pathlib import Path

import pytest

from tests.model.build import build
from tests.model.planted import PLANTED
from tests.model.scenarios import SHORT

Built = tuple[Path, Path]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    directory = tmp_path_factory.mktemp("model")
    return directory, build(directory)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SHORT)
def test_no_order_of_steps_is_at_fault(name: str, built: Built) -> None:
    explored = SHORT[name].run(*built)
    assert not explored.fault, str(explored)
    assert explored.complete
    assert explored.ends > 0
    assert explored.states > 1000  # else there were no orders to speak of


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, tmp_path: Path) -> None:
    planted = PLANTED[name]
    explored = planted.scenario.run(tmp_path, build(tmp_path, edit=planted.edit))
    assert explored.fault
    assert explored.fault.startswith(planted.fault)
    assert explored.trail
