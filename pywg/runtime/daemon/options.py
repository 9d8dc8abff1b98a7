"""Options of one daemon, from the command line and the environment; the command line wins.

Names and meanings of LOG_LEVEL, WG_TUN_FD, WG_UAPI_FD and WG_PROCESS_FOREGROUND are wireguard-go's. PYWG_UDP_GSO,
PYWG_UDP_GRO and PYWG_TUN_OFFLOAD (0 or 1) switch one offload each, PYWG_UDP_GSO_EQUAL_TAIL a part of the first,
PYWG_VXLAN_OFFLOAD a part of the last, PYWG_TUN_RPS the steering of what the TUN is written, PYWG_SANDBOX the sandbox.
PYWG_AEAD names the AEAD's backend, PYWG_THREADS the number of threads that move packets, PYWG_SHARDS in how many parts,
and PYWG_STAGED_MEMORY the memory of packets that wait for a session; PYWG_TURNS, whether each thread sends what it has
sealed. PYWG_LISTEN_ADDRESS and PYWG_BIND_DEVICE bind the UDP sockets. PYWG_USER and PYWG_DROP_NET_ADMIN say what the
daemon gives up once it has started, PYWG_SOCKET_OWNER and PYWG_MONITOR_SOCKET who may ask it; PYWG_NAMESPACE_SOCKET, by
which `pywg up` serves one name in several network namespaces, where. PYWG_LOG_FILE and PYWG_LOG_FORMAT say where the
log goes, and how. NOTIFY_SOCKET, WATCHDOG_USEC, LISTEN_FDS and JOURNAL_STREAM are systemd's; a daemon in the foreground
reads them.

A wrong value of a variable that is ours, or that names a descriptor, is an error. The operator may have set LOG_LEVEL
and systemd's variables for other programs: a value there that means nothing is a remark in the log, and no reason to
have no tunnel.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict, TypeVar, Unpack, cast

from pywg.errors import ConfigError
from pywg.runtime.base.accounts import Account, Owner, read_account, read_group, read_owner
from pywg.runtime.base.binding import Binding, read_binding
from pywg.runtime.base.log import Form, Level, level_of, parse_form
from pywg.runtime.base.processors import (
    READING_THREADS,
    SHARDS,
    auto_threads,
    helpers_for,
    turns_for,
    usable_processors,
)
from pywg.runtime.daemon.notify import watchdog_seconds

_Read = TypeVar("_Read")

_CARRIED = ("LOG_LEVEL", "WG_PROCESS_FOREGROUND", "NOTIFY_SOCKET", "WATCHDOG_USEC")
"""Variables that hold for the next daemon too, besides ours."""
NOT_CARRIED = ("WG_TUN_FD", "WG_UAPI_FD", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
"""Variables that mean nothing to a daemon that takes over."""
_STORED_TUN = "tun"
"""The name under which the service manager keeps the TUN for the daemon's next start, where the daemon has but one."""
_FIRST_LISTEN_FD = 3
_MOST_DESCRIPTORS = 999_999_999
_MOST_THREADS = 64
_STAGED_MIB = 16
_MOST_STAGED_MIB = 1024


class Given(TypedDict, total=False):
    """Options on a command line. The environment decides those that it lacks, or gives as empty."""

    foreground: bool
    verbose: bool
    log_file: str
    udp_gso: bool
    udp_gso_equal_tail: bool
    udp_gro: bool
    tun_offload: bool
    vxlan_offload: bool
    sandbox: bool
    listen_addresses: Sequence[str]
    bind_device: str
    threads: str
    """auto, or a number"""
    shards: str
    staged_memory: str
    """MiB"""
    user: str
    drop_net_admin: bool
    socket_owner: str
    monitor_socket: str


@dataclass(frozen=True, slots=True)
class Options:
    """Options of one daemon: checked, and immutable."""

    interface: str
    foreground: bool
    log_level: Level
    log_form: Form
    log_file: str
    """the file that the log goes to; empty: standard error, or the system's log"""
    journal_stream: str
    """what the service manager says standard error is (JOURNAL_STREAM)"""
    keep_output: bool
    """in the background, leave standard output and error open (wireguard-go: when LOG_LEVEL is set and not silent)"""
    tun_fd: int | None
    uapi_fd: int | None
    udp_gso: bool
    udp_gso_equal_tail: bool | None
    """segment also where the last datagram is as long as the others; None: unless this kernel damages these"""
    udp_gro: bool
    tun_offload: bool
    vxlan_offload: bool
    """superframes in UDP tunnels, too, where the TUN has offloads"""
    tun_rps: bool
    """have the kernel receive what is written to the TUN on several processors"""
    binding: Binding
    """what the UDP sockets are bound to besides their port"""
    sandbox: bool
    user: Account | None
    """the user that the daemon becomes once it has started; None: it stays who it is"""
    drop_net_admin: bool
    """give up CAP_NET_ADMIN too, once started"""
    socket_owner: Owner
    """who may use the configuration socket, besides root"""
    monitor_owner: Owner | None
    """who may use the monitoring socket, besides root; None: there is none"""
    namespace_socket: bool
    """the sockets lie in a folder of this network namespace, and not where `wg` looks"""
    aead: str
    """the backend of the data plane's AEAD by name, or "auto" for the fastest on this processor"""
    threads: int | None
    """that move packets, of all shards: those that read, and their helpers; None: as many as suit the processors"""
    shards: int
    """parts of an interface with queue, sockets and threads of their own, where it can have so many"""
    turns: bool
    """each thread sends what it has sealed, and waits for its turn"""
    staged_bytes: int
    """bytes that packets which wait for a session may take, of all peers together"""
    notify_socket: str | None
    watchdog: float | None
    """seconds within which the service manager wants a sign of life"""
    store_tun: bool
    """leave the TUN with the service manager, so that a restart keeps the interface"""
    stored_tun: str
    """the name under which it is left there"""
    tun_is_ours: bool = False
    """`tun_fd` is the TUN that the service manager has kept for this daemon, and no other program's"""
    log_file_is_real: bool = False
    """no part of its path was a symbolic link, and none may be when it is opened"""
    given: tuple[tuple[str, str], ...] = ()
    """what the command line said, by the names of Given, as text: for a daemon that takes over from this one"""
    environment: tuple[tuple[str, str], ...] = ()
    """what the environment said of it, likewise"""
    remarks: tuple[str, ...] = ()
    """for the log: variables that mean nothing, and what holds instead"""

    def helpers(self, shards: int) -> int:
        """Of each shard, where there are so many: threads besides the two that read. Reads what the sandbox hides."""
        return helpers_for(auto_threads(shards) if self.threads is None else self.threads, shards)


def read_options(interface: str, environ: Mapping[str, str], *, alone: bool = True, **given: Unpack[Given]) -> Options:
    """The options of `interface`. By default switches are on, sockets are bound to a port only, the number of threads
    is "auto", and there is one shard. Unless `alone`, the daemon has other interfaces too.

    Raises ConfigError that names the variable, or the option, and its value.
    """
    remarks: list[str] = []
    level = Level.DEBUG if given.get("verbose") else _log_level(environ, remarks)
    log_file = given.get("log_file") or environ.get("PYWG_LOG_FILE", "")
    foreground = given.get("foreground", False) or environ.get("WG_PROCESS_FOREGROUND") == "1"
    tun_fd, uapi_fd = _descriptor(environ, "WG_TUN_FD"), _descriptor(environ, "WG_UAPI_FD")
    if not alone and (tun_fd, uapi_fd) != (None, None):
        raise ConfigError("WG_TUN_FD and WG_UAPI_FD are of one interface: a daemon of several takes neither")
    shards = _shards(*_said("shards", given.get("shards"), environ))
    threads = _threads(*_said("threads", given.get("threads"), environ), shards)
    stored_tun = _STORED_TUN if alone else f"{_STORED_TUN}-{interface}"
    kept = _stored_tun(environ, stored_tun) if foreground and tun_fd is None else None
    return Options(
        interface=interface,
        foreground=foreground,
        log_level=level,
        log_form=parse_form(environ.get("PYWG_LOG_FORMAT", "")),
        log_file=os.path.abspath(log_file) if log_file else "",
        journal_stream=environ.get("JOURNAL_STREAM", ""),
        keep_output=bool(given.get("verbose") or environ.get("LOG_LEVEL"))
        and level is not Level.SILENT
        and not log_file,
        tun_fd=kept if kept is not None else tun_fd,
        tun_is_ours=kept is not None,
        uapi_fd=uapi_fd,
        udp_gso=_switch(environ, "PYWG_UDP_GSO", given.get("udp_gso")),
        udp_gso_equal_tail=_switch_or_none(environ, "PYWG_UDP_GSO_EQUAL_TAIL", given.get("udp_gso_equal_tail")),
        udp_gro=_switch(environ, "PYWG_UDP_GRO", given.get("udp_gro")),
        tun_offload=_switch(environ, "PYWG_TUN_OFFLOAD", given.get("tun_offload")),
        vxlan_offload=_switch(environ, "PYWG_VXLAN_OFFLOAD", given.get("vxlan_offload")),
        tun_rps=_switch(environ, "PYWG_TUN_RPS", None, default="0"),
        aead=environ.get("PYWG_AEAD") or "auto",
        binding=read_binding(
            given.get("listen_addresses") or environ.get("PYWG_LISTEN_ADDRESS", "").replace(",", " ").split(),
            given.get("bind_device") or environ.get("PYWG_BIND_DEVICE", ""),
        ),
        sandbox=_switch(environ, "PYWG_SANDBOX", given.get("sandbox")),
        user=_if_said(read_account, *_said("user", given.get("user"), environ)),
        drop_net_admin=_switch(environ, "PYWG_DROP_NET_ADMIN", given.get("drop_net_admin"), default="0"),
        socket_owner=_if_said(read_owner, *_said("socket-owner", given.get("socket_owner"), environ)) or Owner(),
        monitor_owner=_if_said(read_group, *_said("monitor-socket", given.get("monitor_socket"), environ)),
        namespace_socket=_switch(environ, "PYWG_NAMESPACE_SOCKET", None, default="0"),
        threads=threads,
        shards=shards,
        turns=_turns(environ, threads, alone=alone and shards == 1),
        staged_bytes=_staged_mib(*_said("staged-memory", given.get("staged_memory"), environ)) << 20,
        notify_socket=(environ.get("NOTIFY_SOCKET") or None) if foreground else None,
        watchdog=_watchdog(environ, remarks) if foreground else None,
        store_tun=foreground and _switch(environ, "PYWG_STORE_TUN", None, default="0"),
        stored_tun=stored_tun,
        given=tuple((name, _as_text(value)) for name, value in given.items()),
        environment=tuple(sorted((name, value) for name, value in environ.items() if value and is_carried(name))),
        remarks=tuple(remarks),
    )


def given_from(texts: Mapping[str, str]) -> Given:
    """What `Options.given` says, as it was given. Raises ConfigError for an option that this pywg has not."""
    given: dict[str, object] = {}
    for name, text in texts.items():
        kind = Given.__annotations__.get(name)
        if kind is None:
            raise ConfigError(f"the daemon was started with an option that this pywg has not: {name!a}")
        given[name] = text == "1" if kind is bool else text if kind is str else text.split(",")
    return cast("Given", given)


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return value if isinstance(value, str) else ",".join(cast("Sequence[str]", value))


def is_carried(name: str) -> bool:
    """Whether a variable holds for a daemon that takes over, too."""
    return name.startswith("PYWG_") or name in _CARRIED


def _said(option: str, given: str | None, environ: Mapping[str, str]) -> tuple[str, str]:
    """The name and text of an option, or of the variable that is called like it when the option is not given."""
    variable = f"PYWG_{option.replace('-', '_').upper()}"
    return (f"--{option}", given) if given else (variable, environ.get(variable, ""))


def _if_said(read: Callable[[str, str], _Read], name: str, text: str) -> _Read | None:
    return read(name, text) if text else None


def _shards(name: str, text: str) -> int:
    if text and text not in map(str, SHARDS):
        raise ConfigError(f"{name}={text!r} is none of {', '.join(map(str, SHARDS[:-1]))} and {SHARDS[-1]}")
    return int(text or SHARDS[0])


def _threads(name: str, text: str, shards: int) -> int | None:
    if text in ("", "auto"):
        return None
    wrong = f"neither auto nor a number from {READING_THREADS} to {_MOST_THREADS}"
    threads = _number(name, text, READING_THREADS, _MOST_THREADS, wrong)
    if threads < READING_THREADS * shards:
        least = READING_THREADS * shards
        raise ConfigError(f"{name}={text!r} is too few for {shards} shards, two for each: auto, or {least} and more")
    return threads


def _turns(environ: Mapping[str, str], threads: int | None, *, alone: bool) -> bool:
    """Unless it is said: no, where interfaces or shards have threads for the same processors."""
    said = _switch_or_none(environ, "PYWG_TURNS", None)
    return alone and turns_for(threads or auto_threads(), usable_processors()) if said is None else said


def _staged_mib(name: str, text: str) -> int:
    wrong = f"not a number of MiB from 1 to {_MOST_STAGED_MIB}"
    return _number(name, text, 1, _MOST_STAGED_MIB, wrong) if text else _STAGED_MIB


def _descriptor(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "")
    return _number(name, text, 0, _MOST_DESCRIPTORS, "not the number of an open file descriptor") if text else None


def _number(name: str, text: str, least: int, most: int, wrong: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else -1
    if not least <= number <= most:
        raise ConfigError(f"{name}={text!r} is {wrong}")
    return number


def _stored_tun(environ: Mapping[str, str], name: str) -> int | None:
    """The TUN that the service manager kept from the last start: sd_listen_fds(3). Other descriptors are ignored."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    return _FIRST_LISTEN_FD + names.index(name) if name in names else None


def _log_level(environ: Mapping[str, str], remarks: list[str]) -> Level:
    text = environ.get("LOG_LEVEL", "")
    level = level_of(text)
    if level is None and text:
        remarks.append(f"LOG_LEVEL={text!r} is none of silent, error, warning, info and debug: it is taken for error")
    return Level.ERROR if level is None else level


def _watchdog(environ: Mapping[str, str], remarks: list[str]) -> float | None:
    try:
        return watchdog_seconds(environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", ""), os.getpid())
    except ConfigError as error:
        remarks.append(f"{error}: no watchdog is served")
        return None


def _switch_or_none(environ: Mapping[str, str], name: str, given: bool | None) -> bool | None:
    """A switch, or None when neither option nor variable sets it."""
    return _switch(environ, name, given) if given is not None or environ.get(name) else None


def _switch(environ: Mapping[str, str], name: str, given: bool | None, *, default: str = "1") -> bool:
    if given is not None:
        return given
    text = environ.get(name) or default
    if text not in ("0", "1"):
        raise ConfigError(f"{name}={text!r} is neither 0 nor 1")
    return text == "1"
