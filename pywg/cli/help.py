"""`pywg help`: the overview, the page of a command, and the pages of what is no command."""

from typing import TYPE_CHECKING

from pywg.cli.commands import COMMANDS
from pywg.cli.usage import UsageError

if TYPE_CHECKING:
    from pywg.cli.parser import CommandParser

OVERVIEW = """\
Usage: pywg COMMAND [ARGUMENT]...
       pywg [OPTION]... IFACE   make the WireGuard interface IFACE and serve it

Commands (for one of them: pywg help COMMAND):
  init                   write the files that join two sites, or many
  up, down FILE|NAME     set up the interface of a wg-quick file; take it down
  reload FILE|NAME       apply what has changed in its file; sessions stay
  check, save, strip, qr validate a file; update it; print it for wg; as QR code
  exec FILE -- COMMAND   run a command whose only network is a tunnel; no root
  status [IFACE]         show what runs, its state, and what is wrong
  show, top, monitor     the state as `wg show`; a live screen; events
  doctor, ping, log      find the fault; measure round trips; set the log level
  stats, bench, systemd  show all counters; measure this machine; write units
  companion, metrics     resolve names again, run hooks; answer Prometheus
  upgrade IFACE          replace the running daemon by this pywg; sessions stay
  genkey, genpsk, pubkey print a private, preshared or public key, as wg does
  run [OPTION]... IFACE  as without a command; several IFACEs: in one process

Options:
  -f, --foreground       stay in the foreground; for more: pywg help options
  -h, --help             show this help
  -V, --version          show the version

Environment (LOG_LEVEL=info): pywg help environment; guides: pywg version -v
"""

ENVIRONMENT = """\
Environment variables of pywg run. An option wins over a variable.

  LOG_LEVEL              verbose (or debug), info, warning, error or silent;
                         default: error. Where it is set, standard error stays
                         open in the background; else the log is the system's
  WG_TUN_FD              a file descriptor: the TUN interface, already open
  WG_UAPI_FD             a file descriptor: the configuration socket, listening
  WG_PROCESS_FOREGROUND  1: as --foreground
  PYWG_UDP_GSO           0: as --no-udp-gso
  PYWG_UDP_GSO_EQUAL_TAIL
                         0 or 1: as --no-udp-gso-equal-tail or without "no"
  PYWG_UDP_GRO           0: as --no-udp-gro
  PYWG_TUN_OFFLOAD       0: as --no-tun-offload
  PYWG_VXLAN_OFFLOAD     0: as --no-vxlan-offload
  PYWG_TUN_RPS           1: the kernel receives packets from the tunnel on all
                         processors, and not on the one that writes them
  PYWG_TURNS             0 or 1: each thread sends what it has sealed; default:
                         1 from 7 threads on, with a processor for each
  PYWG_LISTEN_ADDRESS    as --listen-address; several with commas
  PYWG_BIND_DEVICE       as --bind-device
  PYWG_SANDBOX           0: as --no-sandbox
  PYWG_USER              as --user
  PYWG_DROP_NET_ADMIN    1: as --drop-net-admin
  PYWG_SOCKET_OWNER      as --socket-owner
  PYWG_MONITOR_SOCKET    as --monitor-socket
  PYWG_NAMESPACE_SOCKET  1: sockets in /var/run/wireguard/netns-NUMBER: wg does
                         not look there, but pywg in that network namespace does
  PYWG_THREADS           as --threads; default: auto
  PYWG_SHARDS            as --shards; default: 1
  PYWG_STAGED_MEMORY     as --staged-memory; default: 16
  PYWG_AEAD              one of the ciphers that bench shows; default: the best
  PYWG_LOG_FILE          as --log-file
  PYWG_LOG_FORMAT        json: log lines are JSON objects; default: text
  PYWG_STORE_TUN         1: let systemd keep the interface over a restart;
                         needs FileDescriptorStoreMax=
"""


_ABOUT_OTHERS = {"options": "run"}
"""Pages of another name than the command's."""


def define(parser: "CommandParser") -> None:
    """Adds the command's arguments."""
    parser.description = "Shows an overview, or the help of WHAT."
    parser.add_argument("what", metavar="WHAT", nargs="?", default="", help="a command, `options` or `environment`")
    parser.set_defaults(execute=lambda given: show_help(given.what))


def show_help(page: str = "") -> int:
    """Writes a page, by default the overview, and returns 0. Raises UsageError when there is no such page."""
    print(page_of(page) if page else OVERVIEW, end="")
    return 0


def page_of(what: str) -> str:
    """The page about a command, `options` or `environment`. Raises UsageError when there is none."""
    from pywg.cli.parser import parser_of

    if what == "environment":
        return ENVIRONMENT
    command = _ABOUT_OTHERS.get(what, what)
    if command not in COMMANDS:
        raise UsageError(f"no help about {what!a}: it may be {', '.join((*COMMANDS, *_ABOUT_OTHERS, 'environment'))}")
    return parser_of(command).format_help()
