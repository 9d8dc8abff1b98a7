"""pywg as a user installs it: the wheel of the source distribution, in an environment of its own, carries a tunnel."""

import re
from pathlib import Path

import pytest

from bench.tunnel.command import CommandError, run
from bench.tunnel.implementations import Implementation
from tests import packages

from .conftest import OpenLab

pytestmark = pytest.mark.timeout(900)  # all is compiled when the sources have changed, on however slow a machine


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the programs of the installation are."""
    return packages.install(tmp_path_factory.mktemp("installed") / "pywg")


def test_the_wheel_carries_a_tunnel(programs: Path, open_lab: OpenLab) -> None:
    installed = Implementation("pywg-installed", (str(programs / "pywg"), "-f"))
    where = run(str(programs / "python"), "-I", "-c", "import pywg._fastpath; print(pywg._fastpath.__file__)")
    assert Path(where.strip()).is_relative_to(programs.parent)
    lab = open_lab(installed, installed, psk=True)
    lab.establish()
    for site in lab.sites:
        assert Path(f"/proc/{site.pid}/cmdline").read_text().split("\0")[1] == str(programs / "pywg")
        assert site.stats()["sandbox_no_new_privs"] == "1"


def test_the_units_of_the_installation_are_found(programs: Path) -> None:
    code = "from pywg.manage import service_units; print(service_units._source())"
    found = run(str(programs / "python"), "-I", "-c", code)
    assert Path(found.strip()) == (programs.parent / "share" / "pywg" / "systemd").resolve()
    with pytest.raises(CommandError, match=r"pywg: .*(don't see|may change)"):  # root's pywg is not in /tmp
        run(str(programs / "pywg"), "systemd", "install", "--dry-run")


def test_the_documents_of_the_installation_are_found(programs: Path) -> None:
    shown = run(str(programs / "pywg"), "version", "--verbose")
    (place,) = re.findall(r"^documents +(\S+)$", shown, re.M)
    assert Path(place) == (programs.parent / "share" / "doc" / "pywg").resolve()
    assert (Path(place) / "docs" / "two-sites.md").is_file()


def test_pip_shows_the_units_and_no_tests(programs: Path) -> None:
    shown = packages.pip("show", "--files", packages.NAME, python=programs / "python")
    assert "share/pywg/systemd/pywg@.service\n" in shown
    assert "share/doc/pywg/docs/two-sites.md\n" in shown
    assert "bin/pywg\n" in shown
    assert "tests/" not in shown
    assert (programs.parent / "share" / "pywg" / "systemd" / "pywg@.service").exists()
