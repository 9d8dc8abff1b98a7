"""Every test of the whole plane runs with two threads and with helpers; sealing and opening also with every AEAD."""

import pytest

from tests.aead import USUAL, each_backend
from tests.fastpath.plane_harness import PlaneHarness

HELPERS = (0, 3)
CIPHERS = ("test_plane_seal", "test_plane_open")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    module = metafunc.module.__name__.rpartition(".")[2]
    if module in CIPHERS:
        pairs = [pytest.param(0, one.id, marks=one.marks, id=f"helpers0-{one.id}") for one in each_backend]
        helped = pytest.param(HELPERS[-1], USUAL, id=f"helpers{HELPERS[-1]}-{USUAL}")
        metafunc.parametrize(("_helpers", "_aead"), [*pairs, helped], indirect=True)
    elif module.startswith("test_plane"):
        metafunc.parametrize("_helpers", HELPERS, indirect=True, ids=[f"helpers{n}" for n in HELPERS])


@pytest.fixture(autouse=True)
def _helpers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the harnesses that don't say how many they want."""
    monkeypatch.setattr(PlaneHarness, "helpers", getattr(request, "param", PlaneHarness.helpers))


@pytest.fixture(autouse=True)
def _aead(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Likewise."""
    monkeypatch.setattr(PlaneHarness, "aead", getattr(request, "param", PlaneHarness.aead))
