"""Parsers of the commands' arguments, their help included. The shell's completion and the manual are made of them too.

No start of a daemon loads this: its arguments are read in pywg.cli.main.
"""

import argparse
import contextlib
import resource
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from pywg.cli.commands import COMMANDS
from pywg.cli.usage import UsageError, check_interface_name, unknown_option

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

Execute = Callable[[argparse.Namespace], int]
"""Carries out a command and returns the exit status."""
_WIDTH = 80


class CommandParser(argparse.ArgumentParser):
    """Of one command. What is wrong with arguments is a UsageError, one line as all of pywg's."""

    def __init__(self, command: str) -> None:
        super().__init__(prog=f"pywg {command}", formatter_class=_Formatter, allow_abbrev=False, add_help=False)
        self._command = command
        self._takes_command = False
        self._positionals.title = "arguments"
        self.add_argument("-h", "--help", action="help", help="show this help")

    def error(self, message: str) -> NoReturn:
        text = message.replace("\n", " ").replace("the following arguments are required:", f"{self._command} needs")
        raise UsageError(text, see=f"{self.prog} --help")

    def takes_command(self) -> None:
        """Has `--` be followed by a command and its arguments, all as they are: `command` of what is given."""
        self._takes_command = True

    def words(self, metavar: str) -> "argparse._SubParsersAction[_WordParser]":
        """Begins the words of a command like `init mesh`: `add_parser(word, help=...)` of the result adds one."""
        return self.add_subparsers(
            metavar=metavar, help="one of:", required=True, prog=self.prog, parser_class=_WordParser
        )

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """What the arguments say. Raises UsageError."""
        for action in self._actions:
            if not isinstance(action, argparse._SubParsersAction):
                continue
            if arguments and arguments[0] in action.choices:
                word: CommandParser = action.choices[arguments[0]]
                return word.parse(arguments[1:])
            given = next((argument for argument in arguments if not argument.startswith("-")), None)
            if given is not None or not arguments:
                not_this = f", not {given!a}" if given is not None else ""
                self.error(f"{self._command} needs {' or '.join(action.choices)}{not_this}")
        command: Sequence[str] = []
        if self._takes_command and "--" in arguments:
            at = list(arguments).index("--")
            arguments, command = arguments[:at], arguments[at + 1 :]
        self._refuse_unknown_options(arguments)
        found, left = self.parse_known_args(list(arguments))
        if self._takes_command:
            if not command:
                self.error(f"{self._command} needs a command after `--`")
            found.command = list(command)
        if left:
            self.error(f"{self._command} takes no {left[0]!a}")
        return found

    def _refuse_unknown_options(self, arguments: Sequence[str]) -> None:
        """Before a missing argument is complained about, which a misspelt option may seem to be."""
        for argument in arguments:
            if argument == "--":
                return
            known = self._option_string_actions
            if argument.startswith("--") and argument.partition("=")[0] not in known:
                raise unknown_option(argument, tuple(known), see=f"{self.prog} --help")

    def print_help(self, file: "SupportsWrite[str] | None" = None) -> None:
        """As its base class, which forgets errors of the system."""
        print(self.format_help(), end="", file=file)


class _WordParser(CommandParser):
    """Of a word of a command: argparse makes it."""

    def __init__(self, prog: str, **_: object) -> None:
        super().__init__(prog.removeprefix("pywg "))


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """For a terminal of 80 columns, whatever this one has: the pages are the same everywhere."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=25, width=_WIDTH)

    def add_usage(
        self,
        usage: str | None,
        actions: "Sequence[argparse.Action]",  # type: ignore[override]
        groups: "Sequence[argparse._MutuallyExclusiveGroup]",  # type: ignore[override]
        prefix: str | None = None,
    ) -> None:
        super().add_usage(usage, actions, groups, prefix or "Usage: ")


def parser_of(command: str) -> CommandParser:
    """The parser of one of COMMANDS, whose module is loaded for it."""
    row = COMMANDS[command]
    parser = CommandParser(command)
    getattr(import_module(f"pywg.cli.{row.module}"), row.define)(parser)
    return parser


def execute(command: str, arguments: Sequence[str]) -> int:
    """Carries out one of COMMANDS and returns the exit status. Raises UsageError."""
    try:
        given = parser_of(command).parse(arguments)
    except SystemExit:  # after --help
        return 0
    run: Execute = given.execute
    if COMMANDS[command].has_keys:
        _forbid_cores()
    return run(given)


def _forbid_cores() -> None:
    """No core of this process is written, nor given to a program that takes cores (a core_pattern with |): at a limit
    of 0 the kernel would still give it one, at 1 it does not.

    PR_SET_DUMPABLE would close /proc/self and /dev/stdin to the commands of a user who is not root. The hard limit
    stays, which a caller in the same process could not raise again.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0 if hard == 0 else 1, hard))


def interface_name(text: str) -> str:
    """The type of an argument that names an interface."""
    return check_interface_name(text)
