"""`pywg [-f] IFACE` and `pywg run IFACE`: the daemon."""

import os
import sys
from collections.abc import Callable
from typing import Unpack

from pywg.runtime.base.failures import needing
from pywg.runtime.daemon.background import in_background, open_standard_descriptors
from pywg.runtime.daemon.options import Given, Options, read_options


def run(interface: str, **given: Unpack[Given]) -> int:
    """Runs the daemon of `interface` and returns the exit status. The environment decides what is not given.

    In the background this returns 0 as soon as interface and configuration socket answer. Raises ConfigError for an
    environment variable or an option that means nothing, and DeviceError for what can't be had. In the background the
    child raises, and the parent returns the child's exit status.
    """
    open_standard_descriptors()
    options = read_options(interface, os.environ, **given)
    if options.foreground:
        return _serve(options, lambda: None)
    return in_background(
        lambda ready: _serve(options, ready),
        keep_output=options.keep_output,
        started=lambda pid: _tell_operator(options, pid),
    )


def _tell_operator(options: Options, pid: int) -> None:
    """Says at a terminal what runs now. A script hears nothing, as from any daemon."""
    if not sys.stderr or not sys.stderr.isatty():
        return
    name = options.interface
    log = options.log_file or ("this terminal" if options.keep_output else "the system's log (journalctl -t pywg)")
    print(
        f"pywg: {name} is served in the background by PID {pid}, which logs to {log}\n"
        f"pywg: it has no key and no port yet: `wg setconf {name} FILE` gives it both; `pywg down {name}` ends it",
        file=sys.stderr,
    )


def _serve(options: Options, ready: Callable[[], None]) -> int:
    # All of the daemon's imports happen here: in the child, when there is one.
    with needing("a part of pywg"):
        from pywg.runtime.daemon.linux import LINUX
        from pywg.runtime.daemon.service import serve
    with needing(f"what {options.interface} needs"):
        serve(options, ready, LINUX)
    return 0
