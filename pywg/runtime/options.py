"""What the environment and the command line say about one daemon; the command line wins.

Names and meanings of LOG_LEVEL, WG_TUN_FD, WG_UAPI_FD and WG_PROCESS_FOREGROUND are wireguard-go's. PYWG_UDP_GSO,
PYWG_UDP_GRO and PYWG_TUN_OFFLOAD (0 or 1) switch one offload each.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pywg.errors import ConfigError
from pywg.runtime.log import Level, parse_level


@dataclass(frozen=True, slots=True)
class Options:
    """One daemon's start: immutable, checked."""

    interface: str
    foreground: bool
    log_level: Level
    keep_output: bool
    """in the background, leave standard output and error open (wireguard-go: when LOG_LEVEL is set and not silent)"""
    tun_fd: int | None
    uapi_fd: int | None
    udp_gso: bool
    udp_gro: bool
    tun_offload: bool


def read_options(
    interface: str,
    environ: Mapping[str, str],
    *,
    foreground: bool = False,
    udp_gso: bool | None = None,
    udp_gro: bool | None = None,
    tun_offload: bool | None = None,
) -> Options:
    """The options of `interface`; None leaves an offload to the environment, and that to its default: on.

    Raises ConfigError that names the variable and its value.
    """
    level = parse_level(environ.get("LOG_LEVEL", ""))
    return Options(
        interface=interface,
        foreground=foreground or environ.get("WG_PROCESS_FOREGROUND") == "1",
        log_level=level,
        keep_output=bool(environ.get("LOG_LEVEL")) and level is not Level.SILENT,
        tun_fd=_descriptor(environ, "WG_TUN_FD"),
        uapi_fd=_descriptor(environ, "WG_UAPI_FD"),
        udp_gso=_switch(environ, "PYWG_UDP_GSO", udp_gso),
        udp_gro=_switch(environ, "PYWG_UDP_GRO", udp_gro),
        tun_offload=_switch(environ, "PYWG_TUN_OFFLOAD", tun_offload),
    )


def _descriptor(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ConfigError(f"{name}={text!r} is not the number of an open file descriptor")
    return int(text)


def _switch(environ: Mapping[str, str], name: str, given: bool | None) -> bool:
    if given is not None:
        return given
    text = environ.get(name, "1")
    if text not in ("0", "1"):
        raise ConfigError(f"{name}={text!r} is neither 0 nor 1")
    return text == "1"
