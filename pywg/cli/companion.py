"""`pywg companion`: what goes on beside a daemon."""

import argparse

from pywg.cli.parser import CommandParser

DESCRIPTION = """\
Goes on beside the daemon of an interface, in the foreground, for what its file
asks in comments that wg-quick passes over. In [Interface]:

  # pywg.Companion = on           endpoints' names are asked for again, when
                                  their time is over and when no answer comes
  # pywg.Failback = SECONDS       how often a peer that is not at the first of
                                  its endpoints is tried at those before; a
                                  peer that answers there moves. Default: off
  # pywg.Hook = EVENT,EVENT PROGRAM
                                  PROGRAM, a path, runs on these events, or on
                                  all; several lines
  # pywg.HookUser = USER          as whom; default: as --user

In [Peer]:

  # pywg.Endpoints = HOST:PORT, HOST:PORT
                                  further endpoints, tried in turn when the one
                                  before does not answer

`pywg up` starts it where the file has one of them, and `pywg down` ends it. A
name that has no address yet is no error of `pywg up` then.
"""
_EPILOG = """\
An endpoint is given up 17 to 18 s after the first packet without an answer:
15 s are WireGuard's, since a peer that has nothing to send may be silent for
10 s, and 2 to 3 s are for an answer to the handshake that it begins then. The
session goes on at the next endpoint. A try of Failback is one handshake
message; without an answer it costs nothing, and with one no packet.

A hook is told in its environment: PYWG_INTERFACE, PYWG_EVENT, PYWG_TIME,
PYWG_PEER (the name, if it has one), and PYWG_ with each fact of the event,
such as PYWG_PUBLIC_KEY and PYWG_ENDPOINT: docs/json.md has events and facts.
It has 30 s; four run at once, ten begin in a second.
Exit status: 0 ended by a signal; 1 it can't be had; 2 usage.
"""


def define(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument("target", metavar="FILE|NAME", help="a file NAME.conf, or the name of an interface")
    parser.add_argument(
        "--user", metavar="USER", default="nobody", help="who asks name servers, and runs hooks; default: nobody"
    )
    parser.set_defaults(execute=companion)


def companion(given: argparse.Namespace) -> int:
    """Goes on until a signal ends it, and returns 0. Raises DeviceError, ConfigError for what the file says."""
    import os

    from pywg.manage.companion.process import READY_FD, run
    from pywg.manage.tunnel import names
    from pywg.runtime.base.log import Level, Log, level_of
    from pywg.runtime.base.log_output import StandardError, SystemLog

    target = names.find(given.target)
    level = level_of(os.environ.get("LOG_LEVEL", ""))
    log = Log(
        target.interface,
        Level.ERROR if level is None else level,
        output=SystemLog() if os.environ.get(READY_FD) else StandardError(),
    )
    run(target, log, user=given.user)
    return 0
