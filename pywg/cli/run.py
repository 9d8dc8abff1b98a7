"""`pywg [-f] IFACE` and `pywg run IFACE...`: the daemon."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

from pywg.runtime.base.failures import needing
from pywg.runtime.base.journal import is_stream
from pywg.runtime.base.libc import spare_memory
from pywg.runtime.base.loading import uncollected
from pywg.runtime.base.stand_ins import without_unused
from pywg.runtime.daemon.background import in_background, open_standard_descriptors
from pywg.runtime.daemon.options import NOT_CARRIED, Given, Options, given_from, is_carried, read_options

if TYPE_CHECKING:
    from pywg.runtime.base.system import System
    from pywg.runtime.daemon.take_over import Taking


def run(interfaces: Sequence[str], **given: Unpack[Given]) -> int:
    """Runs the daemon of these interfaces and returns the exit status. The environment decides what is not given.

    In the background this returns 0 as soon as interfaces and configuration sockets answer. Raises ConfigError for an
    environment variable or an option that means nothing, and DeviceError for what can't be had. In the background the
    child raises, and the parent returns the child's exit status.
    """
    open_standard_descriptors()
    alone = len(interfaces) == 1
    several = [read_options(interface, os.environ, alone=alone, **given) for interface in interfaces]
    if several[0].foreground:
        return _serve(several, lambda: None)
    return in_background(
        lambda ready: _serve(several, ready),
        keep_output=lambda: several[0].keep_output,
        started=lambda pid: _tell_operator(several, pid),
    )


def _tell_operator(several: Sequence[Options], pid: int) -> None:
    """Says at a terminal what runs now. A script hears nothing, as from any daemon."""
    if not sys.stderr or not sys.stderr.isatty():
        return
    options = several[0]
    name = options.interface
    names, verb, has = name, "is", "it has"
    if len(several) > 1:
        names, verb, has = ", ".join(one.interface for one in several), "are", "they have"
    log = options.log_file or ("this terminal" if options.keep_output else "the system's log (journalctl -t pywg)")
    print(
        f"pywg: {names} {verb} served in the background by PID {pid}, which logs to {log}\n"
        f"pywg: {has} no key and no port yet: `wg setconf {name} FILE` gives it both; `pywg down {name}` ends it",
        file=sys.stderr,
    )


def take_over(interface: str) -> int:
    """Runs, in the background, a daemon that takes over all that the one of `interface` serves, with its options.

    Returns its PID, or 0 where it could not: then the child has said why, and that the other daemon serves on, or has
    ended. Raises DeviceError.
    """
    open_standard_descriptors()
    options: list[Options] = []
    pids: list[int] = []

    def serve(ready: Callable[[], None]) -> int:
        with _loading():
            from pywg.runtime.daemon import witness
            from pywg.runtime.daemon.linux import LINUX
            from pywg.runtime.daemon.service import serve
            from pywg.runtime.daemon.take_over import Taking, join
        with needing(f"the takeover of {interface}"):
            taking = Taking(interface)
            options.extend(_options_of(taking))
            taking.witness.check(options, witness.of_process(os.getpid()))
            if taking.control_group:
                join(taking.control_group)

            def is_ready() -> None:
                taking.close()
                names = ", ".join(one.interface for one in options)
                waited = f"{taking.waited_s * 1e3:.1f} ms"
                said = f"{names}: PID {os.getpid()} serves, in place of PID {taking.pid}; nothing was sent for {waited}"
                with contextlib.suppress(OSError, ValueError):  # the old daemon has gone: this one serves, heard or not
                    print(said, flush=True)
                ready()

            serve(options, is_ready, LINUX, taking)
        return 0

    caller = os.getpid()
    status = in_background(serve, keep_output=lambda: options[0].keep_output, started=pids.append, orphan=True)
    if os.getpid() != caller:
        raise SystemExit(status)  # the daemon has ended
    return pids[0] if pids else 0


def _options_of(taking: "Taking") -> list[Options]:
    """The other daemon's options, read anew. Raises ConfigError."""
    environ = {name: value for name, value in os.environ.items() if not is_carried(name)}
    environ = {name: value for name, value in environ.items() if name not in NOT_CARRIED}
    environ |= {name: value for name, value in taking.environment.items() if is_carried(name)}
    given = given_from(taking.given)
    alone = len(taking.interfaces) == 1
    options = [read_options(one.name, environ, alone=alone, **given) for one in taking.interfaces]
    # Standard error is this command's, which ends, unless the service manager itself has run it (ExecReload=).
    journal = bool(taking.control_group) and is_stream(environ.get("JOURNAL_STREAM", ""))
    return [
        replace(
            one,
            foreground=one.foreground and journal,
            keep_output=journal,
            # What the witness finds the other daemon to write must be what is opened, whoever has the folder.
            log_file=os.path.realpath(one.log_file) if one.log_file else "",
            log_file_is_real=True,
        )
        for one in options
    ]


def load() -> "tuple[Callable[[Sequence[Options], Callable[[], None], System], None], System]":
    """What serves, and on which system. All of the daemon's imports happen here: in the child, when there is one."""
    with _loading():
        from pywg.runtime.daemon.linux import LINUX
        from pywg.runtime.daemon.service import serve
    return serve, LINUX


@contextlib.contextmanager
def _loading() -> Iterator[None]:
    """In the body a daemon's modules are imported, with no more memory than they need. Raises DeviceError."""
    spare_memory()
    with needing("a part of pywg"), without_unused(), uncollected():
        yield
    sys.path_importer_cache.clear()  # which files lie in which folders: soon none can be opened


def _serve(several: Sequence[Options], ready: Callable[[], None]) -> int:
    serve, system = load()
    with needing(f"what {', '.join(options.interface for options in several)} needs"):
        serve(several, ready, system)
    return 0
