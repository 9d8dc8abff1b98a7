"""Help: the overview fits a screen, every command has a page of its own, and the pages name all that there is."""

import re
from pathlib import Path

import pytest

from pywg.cli.commands import COMMANDS
from pywg.cli.help import ENVIRONMENT, OVERVIEW, page_of
from pywg.cli.main import _SWITCHES, _WITH_VALUES, main
from pywg.cli.parser import parser_of

OPTIONS = Path(__file__).parents[2] / "pywg" / "runtime" / "daemon" / "options.py"
SYSTEMDS = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}
"""Variables that systemd sets, and nobody else."""
PAGES = (*COMMANDS, "options", "environment")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"], ["-f", "--help"], ["wg0", "-h"]])
def test_overview(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr() == (OVERVIEW, "")


def test_without_an_argument_the_commands_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """It is an error all the same; and none of the commands for a program that is called by another name."""
    assert main([]) == 2
    out, err = capsys.readouterr()
    *shown, question = err.splitlines()
    assert out == ""
    assert question == "pywg: which command, or which interface? (see pywg help)"
    assert len(shown) < 20
    assert OVERVIEW.startswith("\n".join(shown))
    for command in COMMANDS.keys() - {"help", "version"}:
        assert re.search(rf"^ .*\b{command}\b", err, re.M)
    assert main([], "/usr/bin/wireguard-go") == 2
    assert capsys.readouterr() == ("", "pywg: which interface? (see pywg --help)\n")


def test_the_overview_names_every_command_and_fits_a_screen() -> None:
    assert len(OVERVIEW.splitlines()) <= 24
    for command in COMMANDS.keys() - {"help", "version"}:
        assert re.search(rf"^ .*\b{command}\b", OVERVIEW, re.M)
    for word in ("pywg help COMMAND", "help options", "help environment", "--foreground", "--version"):
        assert word in OVERVIEW


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_page_of_its_own(capsys: pytest.CaptureFixture[str], command: str) -> None:
    for arguments in ([command, "--help"], [command, "-h"], ["help", command]):
        assert main(arguments) == 0
        assert capsys.readouterr() == (page_of(command), "")
    assert len({page_of(one) for one in COMMANDS}) == len(COMMANDS)
    assert f"pywg {command}" in page_of(command)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_is_explained(command: str) -> None:
    parser = parser_of(command)
    assert parser.description
    assert all(action.help for action in parser._actions)
    assert COMMANDS[command].summary


@pytest.mark.parametrize(("command", "word"), [("init", "site-to-site"), ("init", "mesh")])
def test_words_of_a_command_have_pages(capsys: pytest.CaptureFixture[str], command: str, word: str) -> None:
    assert main([command, word, "--help"]) == 0
    page = capsys.readouterr().out
    assert page.startswith(f"Usage: pywg {command} {word} ")
    assert max(map(len, page.splitlines())) <= 80
    assert word in page_of(command)


@pytest.mark.parametrize("what", ["", *PAGES])
def test_pages_fit_the_width_of_a_terminal(what: str) -> None:
    page = page_of(what) if what else OVERVIEW
    assert max(map(len, page.splitlines())) <= 80
    assert page.endswith("\n")


def test_the_options_that_are_explained_are_those_that_run_reads() -> None:
    explained = {flag for action in parser_of("run")._actions for flag in action.option_strings}
    assert explained == {*_SWITCHES, *_WITH_VALUES, "-h", "--help", "-V", "--version"}
    assert page_of("options") == page_of("run")


def test_every_variable_that_is_read_is_explained() -> None:
    read = set(re.findall(r'"((?:PYWG|WG)_[A-Z_]+|LOG_LEVEL)"', OPTIONS.read_text())) - SYSTEMDS
    read |= {
        f"PYWG_{name.upper().replace('-', '_')}" for name in re.findall(r'_said\("([a-z-]+)"', OPTIONS.read_text())
    }
    assert {"PYWG_STORE_TUN", "PYWG_THREADS", "WG_TUN_FD", "LOG_LEVEL"} <= read
    assert set(re.findall(r"^  ([A-Z][A-Z_]+)", ENVIRONMENT, re.M)) == read


def test_no_help_about_something_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "wg0"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    for page in PAGES:
        assert page in err
