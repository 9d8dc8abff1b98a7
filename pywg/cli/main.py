"""The first word of a command line: a command of the table, or an interface to serve, with its daemon's options."""

import contextlib
import errno
import io
import os
import sys
from typing import TYPE_CHECKING

from pywg import __version__
from pywg.cli.commands import COMMANDS
from pywg.cli.usage import (
    HELP_OPTIONS,
    UsageError,
    only_interface,
    option_number,
    option_value,
    several_interfaces,
    unknown_option,
)
from pywg.errors import DeviceError, NoDaemonError, PywgError, WgQuickError
from pywg.runtime.base.failures import advice
from pywg.runtime.base.loading import uncollected
from pywg.runtime.base.stand_ins import without_unused

if TYPE_CHECKING:
    from pywg.runtime.daemon.options import Given

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
"""The status that a shell reports of a program that SIGPIPE has ended."""

_EXTRA = {"segno": "segno", "rich": "rich", "prometheus_client": "prometheus-client"}
"""Packages that some commands alone need, by the names that they are imported by: the extras `tools`, `metrics`."""
_OUR_NAMES = ("pywg", "__main__")
_VERSION_OPTIONS = ("-V", "--version")
_SWITCHES: "dict[str, Given]" = {
    "-f": {"foreground": True},
    "--foreground": {"foreground": True},
    "-v": {"verbose": True},
    "--verbose": {"verbose": True},
    "--no-udp-gso": {"udp_gso": False},
    "--no-udp-gso-equal-tail": {"udp_gso_equal_tail": False},
    "--udp-gso-equal-tail": {"udp_gso_equal_tail": True},
    "--no-udp-gro": {"udp_gro": False},
    "--no-tun-offload": {"tun_offload": False},
    "--no-vxlan-offload": {"vxlan_offload": False},
    "--no-sandbox": {"sandbox": False},
    "--drop-net-admin": {"drop_net_admin": True},
}
_WITH_VALUES = (
    *("--listen-address", "--bind-device", "--threads", "--shards", "--staged-memory"),
    *("--user", "--socket-owner", "--monitor-socket", "--log-file"),
)


def main(argv: list[str], program: str = "pywg") -> int:
    """Run the command line `argv` (without the program's name) and return the exit status.

    `program` is the path by which the operator called it. Under another name than pywg, such as a link called
    wireguard-go, there are no subcommands: every word is the name of an interface. The status is 0 when it is done, 1
    when it failed, and 2 when the command line is wrong. A failure is one line on standard error, and the line of a
    file that is wrong below it; when nothing is asked for, the commands stand before it. Nothing is said when the
    reader of our output has gone.
    """
    _print_whatever_comes()
    try:
        status = _dispatch(argv, commands=os.path.basename(program).partition(".")[0] in _OUR_NAMES)
        if sys.stdout:
            sys.stdout.flush()
    except UsageError as error:
        return _fail(str(error), EXIT_USAGE)
    except DeviceError as error:
        return _fail(_about_device(error), EXIT_FAILURE)
    except WgQuickError as error:
        return _fail(f"{error}\n{error.excerpt}".rstrip(), EXIT_FAILURE)
    except PywgError as error:
        return _fail(str(error), EXIT_FAILURE)
    except ImportError as error:
        return _fail(_about_import(error), EXIT_FAILURE)
    except BrokenPipeError:
        _drop_output()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        _drop_output()
        return _fail(_about_system(error), EXIT_FAILURE)
    except MemoryError:
        return _fail("out of memory", EXIT_FAILURE)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return status


def _print_whatever_comes() -> None:
    """What standard output's encoding lacks, or what is no text in a path, is replaced, and no error.

    In the locale C the errors are "surrogateescape", which saves no character that ASCII lacks.
    """
    if not isinstance(sys.stdout, io.TextIOWrapper):
        return
    if sys.stdout.encoding != "utf-8" and sys.stdout.errors in ("strict", "surrogateescape"):
        sys.stdout.reconfigure(errors="replace")
    elif sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _dispatch(argv: list[str], *, commands: bool) -> int:
    if not argv:
        if not commands:
            raise UsageError("which interface?")
        _show_commands()
        raise UsageError("which command, or which interface?", see="pywg help")
    if not commands:
        return _run(argv, any_name=True)
    if argv[0] == "run":
        return _run(argv[1:], any_name=True, page="run")
    if argv[0] not in COMMANDS:
        return _run(argv)
    from pywg.cli.parser import execute

    return execute(argv[0], argv[1:])


def _run(arguments: list[str], *, any_name: bool = False, page: str = "") -> int:
    """Runs a daemon. Unless `any_name`, refuses a name that looks like a word for a tool.

    `page` is the command of which this is a run, and whose help `--help` shows: it takes several interfaces.
    """
    given: Given = {}
    names: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        option = argument.partition("=")[0]
        if argument == "--":
            any_name |= not names
            names += rest
        elif not argument.startswith("-"):
            names.append(argument)
        elif argument in _SWITCHES:
            given.update(_SWITCHES[argument])
        elif option == "--listen-address":
            given["listen_addresses"] = (*given.get("listen_addresses", ()), option_value(argument, rest))
        elif option == "--bind-device":
            given["bind_device"] = option_value(argument, rest)
        elif option == "--threads":
            given["threads"] = option_number(option, option_value(argument, rest), or_word="auto")
        elif option == "--shards":
            given["shards"] = option_number(option, option_value(argument, rest))
        elif option == "--staged-memory":
            given["staged_memory"] = option_number(option, option_value(argument, rest))
        elif option == "--user":
            given["user"] = option_value(argument, rest)
        elif option == "--socket-owner":
            given["socket_owner"] = option_value(argument, rest)
        elif option == "--monitor-socket":
            given["monitor_socket"] = option_value(argument, rest)
        elif option == "--log-file":
            given["log_file"] = option_value(argument, rest)
        elif argument in HELP_OPTIONS:
            return _show_help(page)
        elif argument in _VERSION_OPTIONS:
            return _show_version()
        else:
            raise unknown_option(argument, (*_SWITCHES, *_WITH_VALUES, *HELP_OPTIONS, *_VERSION_OPTIONS))
    if names and not any_name:
        _refuse_words(names)
    if not names and arguments in (["-v"], ["--verbose"]):
        raise UsageError(f"which interface? {arguments[0]} makes its log verbose; the version: pywg --version")
    interfaces = several_interfaces(names) if page else [only_interface(names)]
    with uncollected(), without_unused():
        from pywg.cli.run import run

    try:
        return run(interfaces, **given)
    except BrokenPipeError as error:  # not of our output: a pipe of the daemon's, which is told
        raise DeviceError(errno.EPIPE, str(error)) from error


def _refuse_words(names: list[str]) -> None:
    """Raises UsageError for a first name that is a word for a tool, or that has others behind it, as a command has."""
    from pywg.cli.words import not_a_command, not_an_interface

    if fault := not_an_interface(names[0], COMMANDS) or not_a_command(names):
        raise UsageError(fault, see="")


def _show_commands() -> None:
    """The overview without its end: beside an error, and so on standard error."""
    from pywg.cli.help import OVERVIEW

    with contextlib.suppress(OSError):
        if sys.stderr:
            print(OVERVIEW.partition("Options:")[0], file=sys.stderr, end="")


def _show_help(page: str = "") -> int:
    from pywg.cli.help import show_help

    return show_help(page)


def _show_version() -> int:
    print(f"pywg {__version__}")
    return 0


def _about_import(error: ImportError) -> str:
    """One line: which part of pywg, or package that it needs, can't be loaded, and what to do."""
    name = error.name or ""
    if not isinstance(error, ModuleNotFoundError):
        return f"{name or 'a module'} can't be loaded: {error}"
    if name.partition(".")[0] == "pywg":
        return f"{name} is not built for this Python: in a checkout, `make venv` builds it and .venv/bin/pywg runs it"
    if package := _EXTRA.get(name):
        what = f"this needs the Python package {package}, which comes with none of pywg's others"
        return f"{what}: `{sys.executable} -m pip install {package}` installs it"
    return f"the Python package {name} is missing: `make venv` in a checkout installs it, and .venv/bin/pywg finds it"


def _about_device(error: DeviceError) -> str:
    text = error.strerror or str(error)
    if not isinstance(error, NoDaemonError):
        return text
    from pywg.manage.meant import what_is_up

    return f"{text}{what_is_up(error.interface)}"


def _about_system(error: OSError) -> str:
    if error.errno is None:
        return str(error)
    file = f"{error.filename}: " if error.filename is not None else ""
    return f"{file}{os.strerror(error.errno)}{advice(error.errno)}"


def _fail(message: str, status: int) -> int:
    with contextlib.suppress(OSError):
        if sys.stderr:
            print(f"pywg: {message}", file=sys.stderr, flush=True)
    return status


def _drop_output() -> None:
    """Discards output that could not be written. The interpreter would try it again at its end, and complain."""
    with contextlib.suppress(OSError):  # there may be no /dev/null, or no room for it
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
