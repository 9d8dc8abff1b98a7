"""Each fault that is put in by hand still has its place in the data plane, and a target that looks for it."""

from tests.fuzz.native.builds import TARGETS
from tests.fuzz.native.mutants import MUTANTS
from tests.sanitizers import ROOT


def test_each_fault_has_its_place() -> None:
    for mutant in MUTANTS:
        assert mutant.target in TARGETS
        assert mutant.text() != (ROOT / "pywg/dataplane" / mutant.path).read_text(), mutant.name


def test_each_fault_has_a_name_of_its_own() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert not [name for name in names for other in names if name != other and other.startswith(name)]
