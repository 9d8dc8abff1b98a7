"""What `pywg IFACE` and `pywg run IFACE...` take, for its help, the shell's completion and the manual.

A start of the daemon reads its arguments in pywg.cli.main, which needs no parser's memory.
"""

from pywg.cli.parser import CommandParser

DESCRIPTION = """\
Makes the WireGuard interface IFACE, and serves it until the interface or its
configuration socket is deleted, or pywg gets SIGTERM. wg and ip configure it.
In the background it logs to the system's log.
With `run`, IFACE may be any name, even that of a pywg command, and there may be
several: one process serves them all, with the same options, each with threads,
sockets and log lines of its own. Each can end by itself; the process ends with
the last one.
"""
_SWITCHES = (
    ("-f, --foreground", "stay in the foreground"),
    ("-v, --verbose", "log everything, as LOG_LEVEL=debug does; in the background, to standard error"),
    ("--no-udp-gso", "send UDP datagrams one by one"),
    (
        "--no-udp-gso-equal-tail, --udp-gso-equal-tail",
        "do so, or don't, for datagrams of one length; default: do so on Linux 7.0 to 7.1-rc5",
    ),
    ("--no-udp-gro", "receive UDP datagrams one by one"),
    ("--no-tun-offload", "exchange packets with the interface one by one"),
    ("--no-vxlan-offload", "do so with packets in UDP tunnels (VXLAN, Geneve)"),
    ("--no-sandbox", "keep all privileges once started, except those that --drop-net-admin and --user drop"),
    (
        "--drop-net-admin",
        "once started, drop CAP_NET_ADMIN too. Then no fwmark can be set, which wg-quick does for a default "
        "route; net.core.rmem_max and wmem_max limit the socket buffers; and pywg can't follow the interface to "
        "another namespace",
    ),
)
_WITH_VALUES = (
    (
        "--log-file",
        "FILE",
        "append the log to this file, instead of standard error or the system's log; logrotate needs copytruncate",
    ),
    (
        "--user",
        "USER[:GROUP]",
        "once started, run as this user, in this group alone; not one that other programs run as: they could stop it",
    ),
    (
        "--socket-owner",
        "[USER][:GROUP]",
        "let this user or this group, too, use the configuration socket: read the keys, and change everything",
    ),
    (
        "--monitor-socket",
        "GROUP",
        "let this group read the state and the counters, but no keys, on a socket IFACE.monitor; it can change nothing",
    ),
    (
        "--listen-address",
        "ADDRESS",
        "use only this address of this host; once for IPv4, once for IPv6 (a link-local one as ADDRESS%%DEVICE)",
    ),
    ("--bind-device", "DEVICE", "use only this device or VRF"),
    (
        "--threads",
        "N",
        "move packets with N threads, 2 to 64; auto: 2 where there are up to 3 processors, else one each, up to 10",
    ),
    (
        "--shards",
        "N",
        "read and send in N parts, each with threads of its own: 1, 2, 4 or 8, for a gateway with many peers, and two "
        "threads at least for each; default: 1",
    ),
    (
        "--staged-memory",
        "MIB",
        "keep at most this much of packets that wait for a handshake, of all peers together, 1 to 1024; default: 16",
    ),
)


def define(parser: CommandParser) -> None:
    """Adds the options and the interface's name."""
    parser.usage = "pywg [OPTION]... IFACE\n       pywg run [OPTION]... IFACE..."
    parser.description = DESCRIPTION
    parser.epilog = "Environment variables do the same: pywg help environment"
    parser.add_argument("interface", metavar="IFACE", nargs="+", help="the interface to make; with `run`, or several")
    for flags, text in _SWITCHES:
        parser.add_argument(*flags.split(", "), dest=flags, action="store_true", help=text)
    for flag, metavar, text in _WITH_VALUES:
        parser.add_argument(flag, metavar=metavar, help=text)
    parser.add_argument("-V", "--version", action="store_true", help="show the version")
