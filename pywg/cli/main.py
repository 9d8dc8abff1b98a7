"""Which subcommand is meant, and its arguments. No daemon and no cryptography is imported to find that out."""

import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pywg import __version__
from pywg.config.interface import interface_name_fault
from pywg.errors import DeviceError, PywgError

if TYPE_CHECKING:
    from pywg.runtime.options import Given

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_HELP = """\
Usage: pywg [OPTION]... IFACE   make the interface IFACE and serve it
       pywg COMMAND [ARGUMENT]...

WireGuard in user space. The interface is configured with wg, wg-quick and ip.

Commands:
  run [OPTION]... IFACE  the same as no command; for an interface named like one
  stats IFACE            show the counters and offloads of a running interface
  log IFACE LEVEL        change how much a running interface writes to its log
  bench [--json]         measure what this machine does: ciphers and offloads
  genkey                 write a new private key
  genpsk                 write a new preshared key
  pubkey                 read a private key and write its public key

Options of run:
  -f, --foreground       stay in the foreground
      --no-udp-gso       send UDP datagrams one by one
      --no-udp-gso-equal-tail, --udp-gso-equal-tail
                         do so, or don't, where all that go together are of
                         one length; default: on Linux 7.0 to 7.1-rc5
      --no-udp-gro       receive UDP datagrams one by one
      --no-tun-offload   exchange packets with the interface one by one
      --listen-address ADDRESS
                         use this address of this host alone; once for IPv4,
                         once for IPv6 (a link-local one as ADDRESS%DEVICE)
      --bind-device DEVICE
                         use this device, or this VRF, alone
      --no-sandbox       keep all privileges once started
      --threads N        move packets with N threads, 2 to 64; auto: 2 where
                         there are up to 3 processors, else one each, up to 10
      --staged-memory MIB
                         keep so much of what waits for a handshake, of all
                         peers together, 1 to 1024; default: 16

Other options:
  -h, --help             show this help
      --version          show the version

Environment:
  LOG_LEVEL              verbose (or debug), info, warning, error or silent;
                         default: error
  WG_TUN_FD              a file descriptor: the TUN interface, already open
  WG_UAPI_FD             a file descriptor: the configuration socket, listening
  WG_PROCESS_FOREGROUND  1: as --foreground
  PYWG_UDP_GSO           0: as --no-udp-gso
  PYWG_UDP_GSO_EQUAL_TAIL
                         0 or 1: as --no-udp-gso-equal-tail or without "no"
  PYWG_UDP_GRO           0: as --no-udp-gro
  PYWG_TUN_OFFLOAD       0: as --no-tun-offload
  PYWG_LISTEN_ADDRESS    as --listen-address; several with commas
  PYWG_BIND_DEVICE       as --bind-device
  PYWG_SANDBOX           0: as --no-sandbox
  PYWG_THREADS           as --threads; default: auto
  PYWG_STAGED_MEMORY     as --staged-memory; default: 16
  PYWG_AEAD              a cipher of those that bench shows: not the fastest
  PYWG_LOG_FORMAT        json: log lines are JSON objects; default: text
"""

_HELP_OPTIONS = ("-h", "--help")
_SWITCHES: "dict[str, Given]" = {
    "-f": {"foreground": True},
    "--foreground": {"foreground": True},
    "--no-udp-gso": {"udp_gso": False},
    "--no-udp-gso-equal-tail": {"udp_gso_equal_tail": False},
    "--udp-gso-equal-tail": {"udp_gso_equal_tail": True},
    "--no-udp-gro": {"udp_gro": False},
    "--no-tun-offload": {"tun_offload": False},
    "--no-sandbox": {"sandbox": False},
}


class _UsageError(Exception):
    """A command line that means nothing; its text is the one line to show."""


def main(argv: list[str]) -> int:
    """Run the command line `argv` (without the program's name) and return the exit status.

    0: done. 1: it failed. 2: the command line is wrong. Whatever goes wrong is one line on standard error.
    """
    try:
        status = _dispatch(argv)
        if sys.stdout:
            sys.stdout.flush()
    except _UsageError as error:
        return _fail(f"{error} (see pywg --help)", EXIT_USAGE)
    except DeviceError as error:
        return _fail(error.strerror or str(error), EXIT_FAILURE)
    except PywgError as error:
        return _fail(str(error), EXIT_FAILURE)
    except OSError as error:
        _drop_output()
        return _fail(str(error), EXIT_FAILURE)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return status


def check_interface_name(name: str) -> str:
    """The name, when the kernel would take it for an interface. _UsageError otherwise."""
    if not name:
        raise _UsageError("an interface needs a name")
    if fault := interface_name_fault(name):
        raise _UsageError(f"an interface's name {fault}")
    return name


def _dispatch(argv: list[str]) -> int:
    if not argv:
        raise _UsageError("which interface?")
    command = _COMMANDS.get(argv[0])
    return command(argv[1:]) if command else _run(argv)


def _run(arguments: list[str]) -> int:
    given: Given = {}
    names: list[str] = []
    options = True
    rest = iter(arguments)
    for argument in rest:
        option = argument.partition("=")[0]
        if not options or not argument.startswith("-"):
            names.append(argument)
        elif argument == "--":
            options = False
        elif argument in _SWITCHES:
            given.update(_SWITCHES[argument])
        elif option == "--listen-address":
            given["listen_addresses"] = (*given.get("listen_addresses", ()), _value(argument, rest))
        elif option == "--bind-device":
            given["bind_device"] = _value(argument, rest)
        elif option == "--threads":
            given["threads"] = _number(option, _value(argument, rest), or_word="auto")
        elif option == "--staged-memory":
            given["staged_memory"] = _number(option, _value(argument, rest))
        elif argument in _HELP_OPTIONS:
            return _show_help()
        elif argument == "--version":
            return _show_version()
        else:
            raise _UsageError(f"unknown option {argument!a}")
    interface = check_interface_name(_only(names))
    from pywg.cli.run import run

    return run(interface, **given)


def _value(argument: str, rest: Iterator[str]) -> str:
    """Of --name=value, or of --name and what comes next."""
    name, equals, value = argument.partition("=")
    if not equals:
        value = next(rest, "")
    if not value:
        raise _UsageError(f"{name} needs a value")
    return value


def _number(option: str, text: str, *, or_word: str = "") -> str:
    """As it was written; how large it may be is for the daemon to say."""
    if text != (or_word or None) and not (text.isascii() and text.isdigit()):
        raise _UsageError(f"{option} takes a number{' or ' if or_word else ''}{or_word}, not {text!a}")
    return text


def _stats(arguments: list[str]) -> int:
    if _wants_help(arguments):
        return _show_help()
    interface = check_interface_name(_only(arguments))
    from pywg.cli.stats import stats

    return stats(interface)


def _log(arguments: list[str]) -> int:
    if _wants_help(arguments):
        return _show_help()
    if len(arguments) != 2:
        raise _UsageError("log takes an interface and a level")
    interface = check_interface_name(arguments[0])
    from pywg.cli.log import set_level

    return set_level(interface, arguments[1])


def _bench(arguments: list[str]) -> int:
    if _wants_help(arguments):
        return _show_help()
    if arguments not in ([], ["--json"]):
        raise _UsageError("bench takes --json, and nothing else")
    from pywg.cli.bench import bench

    return bench(as_json=bool(arguments))


def _genkey(arguments: list[str]) -> int:
    from pywg.cli.genkey import genkey

    return _without_arguments(genkey, arguments)


def _genpsk(arguments: list[str]) -> int:
    from pywg.cli.genpsk import genpsk

    return _without_arguments(genpsk, arguments)


def _pubkey(arguments: list[str]) -> int:
    from pywg.cli.pubkey import pubkey

    return _without_arguments(pubkey, arguments)


def _without_arguments(command: Callable[[], int], arguments: list[str]) -> int:
    if _wants_help(arguments):
        return _show_help()
    if arguments:
        raise _UsageError(f"{command.__name__} takes no arguments")
    return command()


def _only(names: list[str]) -> str:
    if not names:
        raise _UsageError("which interface?")
    if len(names) > 1:
        raise _UsageError("one interface at a time")
    return names[0]


def _wants_help(arguments: list[str]) -> bool:
    return any(argument in _HELP_OPTIONS for argument in arguments)


def _show_help() -> int:
    sys.stdout.write(_HELP)
    return 0


def _show_version() -> int:
    print(f"pywg {__version__}")
    return 0


def _fail(message: str, status: int) -> int:
    print(f"pywg: {message}", file=sys.stderr)
    return status


def _drop_output() -> None:
    """Forget what could not be written, or the interpreter would try once more, and complain, on its way out."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": _run,
    "stats": _stats,
    "log": _log,
    "bench": _bench,
    "genkey": _genkey,
    "genpsk": _genpsk,
    "pubkey": _pubkey,
}
