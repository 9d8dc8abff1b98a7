"""What is in the source distribution and in the wheel: all that a build needs, and nothing that is not for users."""

import os
import re
import zipfile
from pathlib import PurePosixPath

import pytest

from tests import packages
from tests.meta import site

pytestmark = pytest.mark.timeout(900)  # all is compiled when the sources have changed, on however slow a machine
NOT_FOR_OTHERS = {".gitignore"}


def test_the_source_distribution_has_every_file() -> None:
    names = packages.sdist_names()
    assert sorted(set(packages.sources()) - names - NOT_FOR_OTHERS) == [], "MANIFEST.in says what goes in"
    assert {"pywg/_fastpath.pyx", "pywg/dataplane/wire/run.pxd"} <= names
    assert "pywg/dataplane/crypto/chacha20poly1305/chapoly.h" in names


def test_the_source_distribution_has_nothing_that_was_built() -> None:
    names = packages.sdist_names()
    assert [name for name in names if re.search(r"\.(so|pyc|o)$|^build/|^\.cache/|/local/", name)] == []
    assert [name for name in names if name.endswith(".c") and name.startswith("pywg/")] == []


def documents_missing(installed: set[str]) -> set[str]:
    """Documents that pages lead to, or that the commands' help names, and that are not among those installed."""
    wanted = {f"docs/{name}" for name in re.findall(r"\bdocs/([\w/.-]+\w)", site.commands())}
    for page in installed:
        if page.endswith(".md"):
            folder = PurePosixPath(page).parent
            targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", (packages.ROOT / page).read_text())
            wanted |= {os.path.normpath(folder / target) for target in targets}
    folders = {str(parent) for name in installed for parent in PurePosixPath(name).parents}
    return wanted - installed - folders


def test_a_document_that_is_not_installed_is_found() -> None:
    every = {str(path) for path in site.files()} | {"LICENSE"}
    assert documents_missing(every) == set()
    for name in ("docs/two-sites.md", "docs/plane-out.svg", "docs/metrics/alerts.yml", "docs/exec.md", "SECURITY.md"):
        assert documents_missing(every - {name}) == {name}


def test_the_wheel_is_for_every_python() -> None:
    assert packages.wheel().name.split("-")[2:4] == ["cp311", "abi3"]
    with zipfile.ZipFile(packages.wheel()) as wheel:
        compiled = [name for name in wheel.namelist() if name.endswith(".so")]
    assert [name for name in compiled if not name.endswith(".abi3.so")] == []
    assert len(compiled) == len({name.partition(".")[0] for name in compiled})


def test_the_wheel_is_pywg_and_its_units() -> None:
    with zipfile.ZipFile(packages.wheel()) as wheel:
        names = wheel.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {re.sub(r"-\d+(\.\d+)*", "", top) for top in tops} == {"pywg", "pywg_tunnel.data", "pywg_tunnel.dist-info"}
    compiled = {name.partition(".")[0] for name in names if name.endswith(".so")}
    wanted = {name.removesuffix(".pyx") for name in packages.sources() if re.match(r"pywg/.*\.pyx$", name)}
    assert compiled == wanted
    assert not documents_missing({name.partition("/data/share/doc/pywg/")[2] for name in names})
    units = {name.rpartition("/")[2] for name in names if "/data/share/pywg/systemd/" in name}
    assert units == {path.name for path in (packages.ROOT / "docs" / "systemd").iterdir()}
    assert {"pywg@.service", "pywg-quick@.service"} <= units
    manual = {name.rpartition("/")[2] for name in names if "/data/share/man/man8/" in name}
    assert {"pywg.8", "pywg-run.8"} <= manual
    assert any(name.endswith("/data/share/bash-completion/completions/pywg") for name in names)
    assert any(name.endswith("/data/share/zsh/site-functions/_pywg") for name in names)
    assert [name for name in names if re.search(r"\.(pyx|c|h|inc)$|test|bench\.json", name)] == []
