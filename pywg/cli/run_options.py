"""What `pywg IFACE` and `pywg run IFACE...` take, for its help, the shell's completion and the manual.

A start of the daemon reads its arguments in pywg.cli.main, which needs no parser's memory.
"""

from pywg.cli.parser import CommandParser

DESCRIPTION = """\
Makes the WireGuard interface IFACE, and serves it until the interface or its
configuration socket is deleted, or pywg gets SIGTERM. wg and ip configure it.
In the background, what it has to say goes to the system's log.
With `run`, IFACE may be any name, also that of a command of pywg, and there may
be several: one process serves them all, with the same options, each with
threads, sockets and log lines of its own. Each ends by itself, and the process
with the last one.
"""
_SWITCHES = (
    ("-f, --foreground", "stay in the foreground"),
    ("-v, --verbose", "log everything, as LOG_LEVEL=debug does; in the background, to standard error"),
    ("--no-udp-gso", "send UDP datagrams one by one"),
    (
        "--no-udp-gso-equal-tail, --udp-gso-equal-tail",
        "do so, or don't, where all that go together are of one length; default: on Linux 7.0 to 7.1-rc5",
    ),
    ("--no-udp-gro", "receive UDP datagrams one by one"),
    ("--no-tun-offload", "exchange packets with the interface one by one"),
    ("--no-vxlan-offload", "do so with packets in UDP tunnels (VXLAN, Geneve)"),
    ("--no-sandbox", "keep all privileges once started, but those that the next two options give up"),
    (
        "--drop-net-admin",
        "once started, give up CAP_NET_ADMIN too. Then no fwmark can be set, which wg-quick does for a default "
        "route; socket buffers end at net.core.rmem_max and wmem_max; and the interface isn't followed to another "
        "namespace",
    ),
)
_WITH_VALUES = (
    (
        "--log-file",
        "FILE",
        "log to the end of this file, and not to standard error or the system's log; logrotate needs copytruncate",
    ),
    (
        "--user",
        "USER[:GROUP]",
        "once started, be this user, with this group alone; not a user that other programs run as: they could stop it",
    ),
    (
        "--socket-owner",
        "[USER][:GROUP]",
        "let this user or this group, too, use the configuration socket: read the keys, and set all",
    ),
    (
        "--monitor-socket",
        "GROUP",
        "let this group see the state and the counters, and no key: a socket IFACE.monitor, which changes nothing",
    ),
    (
        "--listen-address",
        "ADDRESS",
        "use this address of this host alone; once for IPv4, once for IPv6 (a link-local one as ADDRESS%%DEVICE)",
    ),
    ("--bind-device", "DEVICE", "use this device, or this VRF, alone"),
    (
        "--threads",
        "N",
        "move packets with N threads, 2 to 64; auto: 2 where there are up to 3 processors, else one each, up to 10",
    ),
    (
        "--staged-memory",
        "MIB",
        "keep so much of what waits for a handshake, of all peers together, 1 to 1024; default: 16",
    ),
)


def define(parser: CommandParser) -> None:
    """Adds the options and the interface's name."""
    parser.usage = "pywg [OPTION]... IFACE\n       pywg run [OPTION]... IFACE..."
    parser.description = DESCRIPTION
    parser.epilog = "Variables of the environment do the same: pywg help environment"
    parser.add_argument("interface", metavar="IFACE", nargs="+", help="the interface to make; with `run`, or several")
    for flags, text in _SWITCHES:
        parser.add_argument(*flags.split(", "), dest=flags, action="store_true", help=text)
    for flag, metavar, text in _WITH_VALUES:
        parser.add_argument(flag, metavar=metavar, help=text)
    parser.add_argument("-V", "--version", action="store_true", help="show the version")
