"""The documents make a site without a warning, and each command is on it."""

import re
import subprocess
from pathlib import Path

import pytest

from pywg.cli.commands import COMMANDS
from ship.page import package_page

from . import site

README = (site.ROOT / "README.md").read_text()


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    site.build(tmp_path)
    page = (tmp_path / "site/docs/commands.html").read_text()
    assert all(f"pywg {name}" in page for name in COMMANDS)
    assert "PYWG_STAGED_MEMORY" in page
    assert (tmp_path / "site/index.html").exists()
    linked = re.findall(r"\]\(https://pywg\.example/([^)#]+)", package_page(README, "https://pywg.example"))
    assert len(linked) > 10
    assert [name for name in linked if not (tmp_path / "site" / name).exists()] == [], "a package page leads to these"


@pytest.mark.parametrize("said", ["see [this](docs/nowhere.md)", "see [this](docs/security.md#nowhere)"])
def test_a_link_to_nothing_is_found(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "commands", lambda: said.replace("docs/", ""))
    with pytest.raises(subprocess.CalledProcessError) as error:
        site.build(tmp_path)
    assert "nowhere" in error.value.stdout
