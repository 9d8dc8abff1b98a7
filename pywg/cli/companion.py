"""`pywg companion`: names resolved again, endpoints tried in turn, and hooks, beside a daemon."""

import argparse

from pywg.cli.parser import CommandParser

DESCRIPTION = """\
Runs beside the daemon of an interface, in the foreground, for the following
comments in its file, which wg-quick ignores. In [Interface]:

  # pywg.Companion = on           resolve endpoints' names again: when their
                                  TTL ends, and when the peer does not answer
  # pywg.Failback = SECONDS       how often to try the earlier endpoints of a
                                  peer that is not at its first one; a peer
                                  that answers there moves. Default: off
  # pywg.Hook = EVENT,EVENT PROGRAM
                                  run PROGRAM, a path, on these events, or on
                                  all; there may be several such lines
  # pywg.HookUser = USER          run hooks as USER; default: as --user

In [Peer]:

  # pywg.Endpoints = HOST:PORT, HOST:PORT
                                  further endpoints, tried in turn when the
                                  current one does not answer

`pywg up` starts it if the file has one of these, and `pywg down` ends it. With
it, a name that has no address yet does not make `pywg up` fail.
"""
_EPILOG = """\
It gives up an endpoint 17 to 18 s after the first packet without an answer:
WireGuard waits 15 s before it starts a handshake, because a peer that has
nothing to send may be silent for 10 s, and the answer to that handshake may
take 2 to 3 s. The session goes on at the next endpoint. Where only the
direction to the peer is dead, it takes up to two minutes: handshakes of the
peer still arrive, and restart that time. A try of Failback is one handshake
message, and interrupts no traffic.

A hook gets the event in its environment: PYWG_INTERFACE, PYWG_EVENT, PYWG_TIME,
PYWG_PEER (the name, if there is one), and a PYWG_ variable for each fact, such
as PYWG_PUBLIC_KEY and PYWG_ENDPOINT: docs/json.md lists events and facts. It is
killed after 30 s. At most four hooks run at once, and ten start in a second.
Exit status: 0 ended by a signal; 1 it could not start; 2 usage.
"""


def define(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument("target", metavar="FILE|NAME", help="a file NAME.conf, or the name of an interface")
    parser.add_argument(
        "--user", metavar="USER", default="nobody", help="user that asks name servers and runs hooks; default: nobody"
    )
    parser.set_defaults(execute=companion)


def companion(given: argparse.Namespace) -> int:
    """Runs until a signal ends it, and returns 0. Raises DeviceError, ConfigError for what the file says."""
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
