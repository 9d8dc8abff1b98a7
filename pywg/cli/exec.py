"""`pywg exec`: a command whose only network is a tunnel."""

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from pywg.cli.parser import CommandParser

if TYPE_CHECKING:
    from pywg.manage.exec.inside import Handed
    from pywg.runtime.daemon.options import Options

_DESCRIPTION = """\
Runs COMMAND with a network of its own, in which there is nothing but the tunnel
of a wg-quick file. No root is needed, nothing of this machine is changed, and
all of it is gone when COMMAND ends. NAME stands for /etc/wireguard/NAME.conf.

  pywg exec work.conf -- curl https://intranet.example
  pywg exec work.conf -- sh

COMMAND stays the user that calls this, without any privilege. Address, DNS, MTU
and AllowedIPs of the file are for COMMAND; names of endpoints are resolved
before, by this machine. Hooks don't run; Table and FwMark mean nothing here.
"""
_EPILOG = """\
Exit status: that of COMMAND; 128 and the number of the signal that ended it;
127 there is no COMMAND; 126 it can't be run; 1 there is no tunnel; 2 usage.
What this keeps from COMMAND, and which variables count: docs/exec.md.
"""
_KEPT = (
    *("LOG_LEVEL", "PYWG_LOG_FORMAT", "PYWG_LOG_FILE", "PYWG_AEAD", "PYWG_THREADS", "PYWG_TURNS"),
    *("PYWG_UDP_GSO", "PYWG_UDP_GSO_EQUAL_TAIL", "PYWG_UDP_GRO", "PYWG_TUN_OFFLOAD", "PYWG_VXLAN_OFFLOAD"),
    *("PYWG_STAGED_MEMORY", "PYWG_LISTEN_ADDRESS", "PYWG_BIND_DEVICE", "PYWG_SANDBOX"),
)
"""Variables of `pywg run` that are for this daemon too; docs/exec.md says why the others are not."""


def define(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.usage = "pywg exec [-h] [-v] FILE|NAME -- COMMAND [ARGUMENT]..."
    parser.add_argument("target", metavar="FILE|NAME", help="a file NAME.conf, or the name of an interface")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what the daemon does, on standard error")
    parser.takes_command()
    parser.set_defaults(execute=execute)


def execute(given: argparse.Namespace) -> int:
    """Runs the command, and returns its exit status. Raises ConfigError, and DeviceError for what can't be had."""
    from pywg.manage.exec.outside import Daemon, run
    from pywg.manage.tunnel import names
    from pywg.runtime.daemon.background import open_standard_descriptors
    from pywg.runtime.daemon.options import read_options

    open_standard_descriptors()
    target = names.find(given.target)
    environ = {name: os.environ[name] for name in _KEPT if name in os.environ}
    options = read_options(target.interface, environ, foreground=True, verbose=given.verbose, drop_net_admin=True)
    daemon = Daemon(
        serve=lambda handed, uapi_fd, ready: _serve(options, handed, uapi_fd, ready),
        tun_offload=options.tun_offload,
        vxlan_offload=options.vxlan_offload,
    )
    return run(target, given.command, daemon)


def _serve(options: "Options", handed: "Handed", uapi_fd: int, ready: Callable[[], None]) -> int:
    """Is the daemon."""
    import dataclasses

    from pywg.cli.run import load
    from pywg.runtime.daemon.elsewhere import InterfaceElsewhere

    serve, _ = load()
    system = InterfaceElsewhere(mtu=handed.mtu, raw4=handed.raw4, raw6=handed.raw6)
    serve([dataclasses.replace(options, tun_fd=handed.tun, uapi_fd=uapi_fd)], ready, system)
    return 0
