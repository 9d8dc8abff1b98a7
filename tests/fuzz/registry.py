"""The fuzzers that there are, of all kinds. Those that this machine can't run are not among them."""

from tests.fuzz import guided
from tests.fuzz.fuzzer import Fuzzer
from tests.fuzz.native import runner as native


def fuzzers() -> list[Fuzzer]:
    """In the order in which they run."""
    return [*guided.fuzzers(), *native.fuzzers()]
