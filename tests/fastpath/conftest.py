"""Every test of the whole plane runs twice: with two threads, and with helpers beside them."""

from collections.abc import Iterator

import pytest

from tests.fastpath import plane_harness

HELPERS = (0, 3)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2].startswith("test_plane"):
        metafunc.parametrize("_helpers", HELPERS, indirect=True, ids=[f"helpers{n}" for n in HELPERS])


@pytest.fixture(autouse=True)
def _helpers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Of the harnesses that don't say how many they want."""
    before = plane_harness.PlaneHarness.helpers
    plane_harness.PlaneHarness.helpers = getattr(request, "param", 0)
    yield
    plane_harness.PlaneHarness.helpers = before
