"""One world for all tests of `pywg exec`."""

from collections.abc import Iterator

import pytest

from .world import World, world


@pytest.fixture(scope="package")
def _world(pywg: str) -> Iterator[World]:
    with world(pywg) as made:
        yield made


@pytest.fixture
def alone(_world: World) -> Iterator[World]:
    """Each test finds it as it was made, and leaves no process."""
    _world.write()
    yield _world
    _world.nothing_is_left()
