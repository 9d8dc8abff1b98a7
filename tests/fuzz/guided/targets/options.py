"""A command line and an environment to the daemon's options: they are refused in one line, or mean what they may."""

import socket

from pywg.cli import main as command_line
from pywg.cli import parser
from pywg.cli import run as runner
from pywg.cli.usage import UsageError
from pywg.config.interface import interface_name_fault
from pywg.errors import ConfigError
from pywg.runtime.base.log import Level
from pywg.runtime.daemon.options import Given, Options, read_options
from tests.fuzz.guided.choices import Choices
from tests.fuzz.guided.replaced import replaced

NAMES = (
    *("LOG_LEVEL", "WG_TUN_FD", "WG_UAPI_FD", "WG_PROCESS_FOREGROUND", "PYWG_UDP_GSO", "PYWG_UDP_GSO_EQUAL_TAIL"),
    *("PYWG_UDP_GRO", "PYWG_TUN_OFFLOAD", "PYWG_SANDBOX", "PYWG_AEAD", "PYWG_THREADS", "PYWG_STAGED_MEMORY"),
    *("PYWG_LISTEN_ADDRESS", "PYWG_BIND_DEVICE", "PYWG_LOG_FORMAT", "PYWG_STORE_TUN", "NOTIFY_SOCKET"),
    *("WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"),
    *("PYWG_USER", "PYWG_SOCKET_OWNER", "PYWG_MONITOR_SOCKET", "PYWG_DROP_NET_ADMIN"),
    *("PYWG_NAMESPACE_SOCKET", "PYWG_VXLAN_OFFLOAD", "PYWG_TUN_RPS", "PYWG_SHARDS"),
)
WORDS = (
    *("wg0", "run", "stats", "log", "bench", "genkey", "help", "version", "up", "wg0.conf", "--", "-f", "--help", "-V"),
    *("--no-sandbox", "--no-udp-gso", "--listen-address", "--listen-address=192.0.2.1", "--bind-device=eth0"),
    *("--threads", "--threads=4", "--threads=auto", "--staged-memory=16", "--staged-memory", "-v", "--bogus", ""),
    *("--user", "--user=nobody", "--socket-owner=:0", "--monitor-socket=0", "--drop-net-admin"),
    *("--shards", "--shards=4"),
)
TOKENS = (
    *(
        b"0",
        b"1",
        b"auto",
        b"65",
        b"1024",
        b"999999999",
        b"99999999999999999999",
        b"debug",
        b"silent",
        b"-1",
        b"+1",
        b" 1",
    ),
    *(
        b"fe80::1%eth0",
        b"192.0.2.1,2001:db8::1",
        b"0.0.0.0",
        b"::",
        b"json",
        b"text",
        b"\xd9\xa3",
        b"\n",
        b"\x1b[2J",
        b"a" * 16,
    ),
)
MOST_THREADS, MOST_STAGED = 64, 1024 << 20


def run(data: bytes) -> None:
    choices = Choices(data)
    environ: dict[str, str] = {}
    for _ in range(choices.number(0, 7)):
        environ[choices.one_of(NAMES)] = text(choices)
    arguments = []
    while choices.left:
        words = choices.byte()
        arguments.append(WORDS[words] if words < len(WORDS) else text(choices))
    started = 0

    def start(interfaces: list[str], **given: object) -> int:
        nonlocal started
        started += 1
        assert interfaces
        assert len(set(interfaces)) == len(interfaces)
        for interface in interfaces:
            assert interface_name_fault(interface) == ""
            check(interface, environ, given, alone=len(interfaces) == 1)
        return 0

    shows = dict.fromkeys(("_show_help", "_show_version"), nothing)
    try:
        with replaced(runner, run=start), replaced(command_line, **shows), replaced(parser, execute=nothing):
            command_line._dispatch(arguments, commands=bool(len(arguments) & 1))
    except (UsageError, ConfigError) as error:
        one_line(str(error))
    if not started:
        check("wg0", environ, {})


def nothing(*_: object) -> int:
    return 0


def text(choices: Choices) -> str:
    """As the system gives arguments and variables to Python."""
    return choices.text().replace(b"\0", b"").decode("utf-8", "surrogateescape")


def one_line(message: str) -> None:
    assert message
    assert message.isprintable(), "an error that is not one line, or moves the terminal's cursor"


def check(interface: str, environ: dict[str, str], given: Given | dict[str, object], *, alone: bool = True) -> None:
    try:
        options = read_options(interface, environ, alone=alone, **given)
    except ConfigError as error:
        one_line(str(error))
        return
    assert_sane(options, environ)
    again = read_options(interface, dict(reversed(environ.items())), alone=alone, **given)
    assert again == options


def assert_sane(options: Options, environ: dict[str, str]) -> None:
    assert options.log_level in Level
    assert options.shards in (1, 2, 4, 8)
    assert options.threads is None or 2 * options.shards <= options.threads <= MOST_THREADS
    assert 1 << 20 <= options.staged_bytes <= MOST_STAGED
    for descriptor, name in ((options.tun_fd, "WG_TUN_FD"), (options.uapi_fd, "WG_UAPI_FD")):
        assert descriptor is None or 0 <= descriptor < 1 << 31
        assert not environ.get(name) or descriptor == int(environ[name])
    assert options.foreground or (options.notify_socket is None and options.watchdog is None and not options.store_tun)
    assert options.watchdog is None or options.watchdog > 0
    for family, address in options.binding.addresses:
        socket.inet_pton(family, address)
    assert not options.binding.device or interface_name_fault(options.binding.device) == ""
    for remark in options.remarks:
        one_line(remark)
