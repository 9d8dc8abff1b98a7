"""A healthy tunnel, which each fault finds whole, and whether a test has met the findings that it names."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from bench.tunnel.lab import Lab

from . import looking, rows


@pytest.fixture(scope="module")
def healthy(pywg: str) -> Iterator[Lab]:
    """For all tests of a module, each of which leaves it so."""
    with Lab(pywg, pywg, psk=True) as lab:
        lab.establish()
        yield lab


@pytest.fixture(autouse=True)
def _nothing_of_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file of /etc/wireguard is a lab's."""
    monkeypatch.setattr("pywg.manage.doctor.gather.DIRECTORY", str(tmp_path / "none"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    looking.looked.clear()
    result = yield
    named = {rows.row(name) for mark in item.iter_markers("finds") for name in mark.args}
    missing = named - rows.met(looking.looked)
    assert not missing, f"the test names what it has not found: {[row.name for row in missing]}"
    return result
