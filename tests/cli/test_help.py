"""Help: the overview fits a screen, every command has a page of its own, and the pages name all that there is."""

import re
from pathlib import Path

import pytest

from pywg.cli.help import OVERVIEW, PAGES
from pywg.cli.main import _COMMANDS, _SWITCHES, _WITH_VALUES, main

OPTIONS = Path(__file__).parents[2] / "pywg" / "runtime" / "daemon" / "options.py"
SYSTEMDS = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}
"""Variables that systemd sets, and nobody else."""
COMMANDS = ("run", *_COMMANDS)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"], ["-f", "--help"], ["wg0", "-h"]])
def test_overview(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr() == (OVERVIEW, "")


def test_the_overview_names_every_command_and_fits_a_screen() -> None:
    assert len(OVERVIEW.splitlines()) <= 24
    for command in COMMANDS[:-2]:
        assert re.search(rf"^ .*\b{command}\b", OVERVIEW, re.M)
    for word in ("pywg help COMMAND", "help options", "help environment", "--foreground", "--version"):
        assert word in OVERVIEW


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_page_of_its_own(capsys: pytest.CaptureFixture[str], command: str) -> None:
    for arguments in ([command, "--help"], [command, "-h"], ["help", command]):
        assert main(arguments) == 0
        assert capsys.readouterr() == (PAGES[command], "")
    assert len({PAGES[one] for one in COMMANDS}) == len(COMMANDS)
    assert f"pywg {'[run]' if command == 'run' else command}" in PAGES[command]


@pytest.mark.parametrize("page", [OVERVIEW, *PAGES.values()])
def test_pages_fit_the_width_of_a_terminal(page: str) -> None:
    assert max(map(len, page.splitlines())) <= 80


@pytest.mark.parametrize("option", [*_SWITCHES, *_WITH_VALUES])
def test_every_option_of_run_is_explained(option: str) -> None:
    assert re.search(rf"(?<![\w-]){option}\b", PAGES["options"])
    assert PAGES["options"] == PAGES["run"]


def test_every_variable_that_is_read_is_explained() -> None:
    read = set(re.findall(r'"((?:PYWG|WG)_[A-Z_]+|LOG_LEVEL)"', OPTIONS.read_text())) - SYSTEMDS
    read |= {
        f"PYWG_{name.upper().replace('-', '_')}" for name in re.findall(r'_said\("([a-z-]+)"', OPTIONS.read_text())
    }
    assert {"PYWG_STORE_TUN", "PYWG_THREADS", "WG_TUN_FD", "LOG_LEVEL"} <= read
    assert set(re.findall(r"^  ([A-Z][A-Z_]+)", PAGES["environment"], re.M)) == read


def test_no_help_about_something_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "wg0"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    for page in PAGES:
        assert page in err
