"""python -m tests.cli.manual: writes docs/man and docs/completion, from the same definitions as `pywg --help`.

Packages install both; `make test` finds files that lack a command or an option.
"""

import argparse
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from pywg import __version__
from pywg.cli.commands import COMMANDS
from pywg.cli.help import ENVIRONMENT, OVERVIEW
from pywg.cli.parser import parser_of
from pywg.runtime.base.log import Level

DOCS = Path(__file__).resolve().parents[2] / "docs"
MAN, COMPLETION = DOCS / "man", DOCS / "completion"
SECTION = 8
_INTERFACES = "_pywg_interfaces"
_CONFIGURATIONS = "_pywg_configurations"
_TUNNELS = "_pywg_tunnels"
_LEVELS = "_pywg_levels"
_PAGES = "_pywg_pages"
_WORDS = {_LEVELS: [level.name.lower() for level in Level], _PAGES: [*COMMANDS, "options", "environment"]}
"""Words that an argument may be."""
_BASH = f"""
{_INTERFACES}() {{
  local path
  for path in /var/run/wireguard/*.sock; do
    path="${{path##*/}}"
    compgen -W "${{path%.sock}}" -- "$1"
  done
}}
{_CONFIGURATIONS}() {{
  local path
  for path in /etc/wireguard/*.conf; do
    path="${{path##*/}}"
    compgen -W "${{path%.conf}}" -- "$1"
  done
  compgen -f -X '!*.conf' -- "$1"
  compgen -d -- "$1"
}}
{_TUNNELS}() {{
  {_INTERFACES} "$1"
  {_CONFIGURATIONS} "$1"
}}
""" + "".join(f'{name}() {{ compgen -W "{" ".join(words)}" -- "$1"; }}\n' for name, words in _WORDS.items())
_ZSH = f"""
{_INTERFACES}() {{
  local -a names
  names=(/var/run/wireguard/*.sock(N:t:r))
  _describe interface names
}}
{_CONFIGURATIONS}() {{
  local -a names
  names=(/etc/wireguard/*.conf(N:t:r))
  _describe configuration names
  _files -g '*.conf'
}}
{_TUNNELS}() {{
  {_INTERFACES}
  {_CONFIGURATIONS}
}}
""" + "".join(f"{name}() {{ compadd {' '.join(words)}; }}\n" for name, words in _WORDS.items())
_COMPLETE = {
    "interface": {"bash": _INTERFACES, "zsh": _INTERFACES},
    "configuration": {"bash": _CONFIGURATIONS, "zsh": _CONFIGURATIONS},
    "tunnel": {"bash": _TUNNELS, "zsh": _TUNNELS},
    "level": {"bash": _LEVELS, "zsh": _LEVELS},
    "page": {"bash": _PAGES, "zsh": _PAGES},
    "file": shtab.FILE,
}
"""What the shell offers for an argument, by its meaning: what runs, what has a file, or both, and others."""
_OF_WORDS = {("log", "LEVEL"): "level", ("help", "WHAT"): "page"}
_OF_WHAT_RUNS = ("down", "reload", "save", "doctor")
"""Commands whose FILE|NAME is of an interface that runs, which has a file perhaps."""


def whole_parser() -> argparse.ArgumentParser:
    """Of `pywg` with all its commands, as the shell completes it."""
    root = argparse.ArgumentParser("pywg", add_help=False)
    root.add_argument("-h", "--help", action="help", help="show help")
    root.add_argument("-V", "--version", action="store_true", help="show the version")
    commands = root.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        parser = parser_of(name)
        for action in parser._actions:
            meaning = _meaning(name, action)
            if meaning:
                action.complete = _COMPLETE[meaning]  # type: ignore[attr-defined]
        made = commands.add_parser(name, parents=[parser], add_help=False, help=command.summary)
        made.description = command.summary  # in one line, which zsh shows beside the name
    return root


def _meaning(command: str, action: argparse.Action) -> str:
    """The kind of thing that an argument names; "" for one that the shell can't know."""
    metavar = str(action.metavar or "")
    if "IFACE" in metavar or metavar == "WHO":
        return "interface"
    if metavar == "FILE" and action.option_strings:
        return "file"
    if (command, metavar) in _OF_WORDS:
        return _OF_WORDS[command, metavar]
    if action.option_strings or not metavar:
        return ""
    if command in _OF_WHAT_RUNS:
        return "tunnel"
    return "configuration" if "FILE" in metavar else ""


def man_page(name: str) -> str:
    """Of one command: pywg-NAME(8)."""
    parser = parser_of(name)
    parser.man_short_description = COMMANDS[name].summary  # type: ignore[attr-defined]
    about = {"project_name": "pywg", "manual_section": SECTION, "manual_title": "pywg", "version": __version__}
    text = str(Manpage(parser, _data=about)).replace("COMMENTS", "NOTES")
    text = text.replace(f".TH PYWG {name.upper()}", rf".TH PYWG\-{name.upper()}", 1)
    text = text.replace(rf"pywg {name} \-", rf"pywg\-{name} \-", 1)
    return _without_date(text) + ".SH SEE ALSO\n.BR pywg (8)\n"


def overview() -> str:
    """pywg(8): the commands, what `pywg help environment` says, and where the pages of the commands are."""
    pages = ",\n".join(f".BR pywg-{name} ({SECTION})" for name in COMMANDS if name not in ("help", "version"))
    return "\n".join(
        [
            f'.TH PYWG "{SECTION}" "" "pywg {__version__}" "pywg"',
            ".SH NAME",
            r"pywg \- WireGuard in user space for Linux",
            ".SH SYNOPSIS",
            r".B pywg",
            r".I COMMAND",
            r"[\fIARGUMENT\fR]...",
            ".br",
            r".B pywg",
            r"[\fIOPTION\fR]... \fIIFACE\fR",
            ".SH DESCRIPTION",
            "Without a command, makes the WireGuard interface IFACE and serves it, as",
            ".BR pywg-run (8)",
            "does.",
            ".SH COMMANDS",
            *_listed((rf"\fBpywg {name}\fR", command.summary) for name, command in COMMANDS.items()),
            ".SH OPTIONS",
            *_listed(_entries(OVERVIEW.partition("Options:\n")[2].partition("\n\n")[0])),
            ".SH ENVIRONMENT",
            *_escaped(ENVIRONMENT.partition("\n")[0]),
            *_listed(_entries(ENVIRONMENT)),
            ".SH EXIT STATUS",
            *_EXIT_STATUS,
            ".SH SEE ALSO",
            pages + ",",
            ".BR wg (8),",
            ".BR wg-quick (8)",
            "",
        ]
    )


_EXIT_STATUS = [
    line
    for status, meaning in (
        ("0", "done"),
        ("1", "failed, or something was found wrong: a line on standard error says what"),
        ("2", "the command line means nothing"),
        ("3, 4", "of doctor and status: the pages of these commands say which"),
        ("130", "interrupted"),
        ("141", "the reader of the output has gone"),
    )
    for line in (".TP", f".B {status}", meaning)
]


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """The terms of a list in a text of help, each with what is said of it."""
    for found in re.finditer(r"^  (\S.*?)(?:  +|\n +)(.+(?:\n {20,}.+)*)", text, re.M):
        yield rf"\fB{_plain(found[1])}\fR", " ".join(found[2].split())


def _listed(entries: Iterable[tuple[str, str]]) -> list[str]:
    return [line for term, text in entries for line in (".TP", term, *_escaped(text))]


def _escaped(text: str) -> list[str]:
    return [rf"\&{_plain(text)}"]


def _plain(text: str) -> str:
    return text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")


def _without_date(text: str) -> str:
    """The same page whenever it is made."""
    return re.sub(r'^(\.TH "?[^"]*"? "\d" )"[^"]*"', r'\1""', text, count=1, flags=re.M)


def main() -> None:
    """Writes all."""
    for folder in (MAN, COMPLETION):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
    (MAN / f"pywg.{SECTION}").write_text(overview())
    for name in COMMANDS:
        (MAN / f"pywg-{name}.{SECTION}").write_text(man_page(name))
    parser = whole_parser()
    (COMPLETION / "pywg").write_text(shtab.complete(parser, "bash", preamble=_BASH))
    (COMPLETION / "_pywg").write_text(shtab.complete(parser, "zsh", preamble=_ZSH))


if __name__ == "__main__":
    main()
