"""The manual and the shell's completion that packages install: they know every command and every option."""

import re
import shlex
import subprocess

import pytest

from pywg.cli.commands import COMMANDS
from pywg.cli.parser import parser_of
from tests.cli.manual import COMPLETION, MAN, SECTION, man_page, overview
from tests.requirements import require_tool

AGAIN = "python -m tests.cli.manual writes it again"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_of_a_command_is_that_of_its_help(command: str) -> None:
    assert (MAN / f"pywg-{command}.{SECTION}").read_text() == man_page(command), AGAIN


def test_the_overview_is_that_of_the_help() -> None:
    assert (MAN / f"pywg.{SECTION}").read_text() == overview(), AGAIN
    assert {path.name for path in MAN.iterdir()} == {
        f"pywg.{SECTION}",
        *(f"pywg-{name}.{SECTION}" for name in COMMANDS),
    }, AGAIN


@pytest.mark.parametrize("path", sorted(MAN.iterdir()), ids=lambda path: path.name)
def test_pages_have_no_fault_of_form(path: object) -> None:
    require_tool("groff")
    made = subprocess.run(
        ["groff", "-man", "-Tascii", "-P-c", "-ww", str(path)], capture_output=True, text=True, check=True, timeout=30
    )
    assert made.stderr == ""
    shown = [re.sub(".\b", "", line) for line in made.stdout.splitlines()]
    assert len(shown) > 5
    assert [line for line in shown if len(line) > 80] == [], "a terminal of 80 columns breaks it"


@pytest.mark.parametrize("file", ["pywg", "_pywg"])
def test_the_completion_has_every_command_and_option(file: str) -> None:
    text = (COMPLETION / file).read_text()
    for command, row in COMMANDS.items():
        assert re.search(rf"\b{command}\b", text), AGAIN
        assert file == "pywg" or f"{command}:{shlex.quote(row.summary)}" in text.replace(r"\:", ":"), AGAIN
        for action in parser_of(command)._actions:
            for option in action.option_strings:
                assert option in text, AGAIN


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("pywg sta", {"stats", "status"}),
        ("pywg genk", {"genkey"}),
        ("pywg stats --j", {"--json"}),
        ("pywg run --drop", {"--drop-net-admin"}),
        ("pywg stats nonesuch", set()),
    ],
)
def test_bash_completes(line: str, offered: set[str]) -> None:
    words = line.split()
    script = f"""
        source {COMPLETION / "pywg"}
        COMP_WORDS=({line}) COMP_CWORD={len(words) - 1} COMP_LINE={line!r} COMP_POINT={len(line)}
        $(complete -p pywg | sed -E 's/.*-F ([^ ]+).*/\\1/') pywg {words[-1]} {words[-2]}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert set(ran.stdout.split()) == offered & {*COMMANDS, "--json", "--drop-net-admin"}
    assert ran.stderr == ""
