"""`pywg [-f] IFACE` and `pywg run IFACE`: the daemon."""

import os
from collections.abc import Callable, Sequence

from pywg.runtime.daemon import in_background, open_standard_descriptors
from pywg.runtime.options import Options, read_options


def run(
    interface: str,
    *,
    foreground: bool,
    udp_gso: bool | None = None,
    udp_gso_equal_tail: bool | None = None,
    udp_gro: bool | None = None,
    tun_offload: bool | None = None,
    sandbox: bool | None = None,
    listen_addresses: Sequence[str] = (),
    bind_device: str = "",
    threads: str | None = None,
) -> int:
    """Runs the daemon of `interface` and returns the exit status; None leaves a switch to the environment.

    In the background this returns 0 as soon as interface and configuration socket answer. Raises ConfigError for an
    environment variable or an option that means nothing, DeviceError for what can't be had; in the background the
    child does, and the parent returns its exit status.
    """
    open_standard_descriptors()
    options = read_options(
        interface,
        os.environ,
        foreground=foreground,
        udp_gso=udp_gso,
        udp_gso_equal_tail=udp_gso_equal_tail,
        udp_gro=udp_gro,
        tun_offload=tun_offload,
        sandbox=sandbox,
        listen_addresses=listen_addresses,
        bind_device=bind_device,
        threads=threads,
    )
    if options.foreground:
        return _serve(options, lambda: None)
    return in_background(lambda ready: _serve(options, ready), keep_output=options.keep_output)


def _serve(options: Options, ready: Callable[[], None]) -> int:
    # All of the daemon's imports happen here: in the child, when there is one.
    from pywg.runtime.service import serve

    serve(options, ready)
    return 0
