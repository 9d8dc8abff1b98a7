"""Pages of help, for a terminal of 80 columns: what `pywg help` and --help print."""

from pywg.cli.usage import UsageError

OVERVIEW = """\
Usage: pywg [OPTION]... IFACE   make the WireGuard interface IFACE and serve it
       pywg COMMAND [ARGUMENT]...

Serves in the background until `ip link del IFACE`. As root, for example:
  pywg wg0
  wg set wg0 private-key FILE listen-port 51820 peer KEY allowed-ips ...
  ip address add 10.0.0.1/24 dev wg0 && ip link set wg0 up

Commands (more of each: pywg help COMMAND):
  run [OPTION]... IFACE  the same as no command; takes every name
  stats IFACE            show the counters and offloads of a running interface
  log IFACE LEVEL        change how much a running interface writes to its log
  bench [--json]         measure what this machine does: ciphers and offloads
  genkey, genpsk         write a new private key, a new preshared key
  pubkey                 read a private key and write its public key

Options:
  -f, --foreground       stay in the foreground; for more: pywg help options
  -h, --help             show this help
  -V, --version          show the version

Environment: LOG_LEVEL=info and more, see pywg help environment
"""

_OPTIONS = """\
Usage: pywg [run] [OPTION]... IFACE

Makes the WireGuard interface IFACE, and serves it until the interface or its
configuration socket is deleted, or pywg gets SIGTERM. wg and ip configure it.
In the background, what it has to say goes to the system's log.
With `run`, IFACE may be any name, also that of a command of pywg.

  -f, --foreground       stay in the foreground
      --no-udp-gso       send UDP datagrams one by one
      --no-udp-gso-equal-tail, --udp-gso-equal-tail
                         do so, or don't, where all that go together are of
                         one length; default: on Linux 7.0 to 7.1-rc5
      --no-udp-gro       receive UDP datagrams one by one
      --no-tun-offload   exchange packets with the interface one by one
      --listen-address ADDRESS
                         use this address of this host alone; once for IPv4,
                         once for IPv6 (a link-local one as ADDRESS%DEVICE)
      --bind-device DEVICE
                         use this device, or this VRF, alone
      --no-sandbox       keep all privileges once started, but those that the
                         next two options give up
      --user USER[:GROUP]
                         once started, be this user, with this group alone; not
                         a user that other programs run as: they could stop it
      --drop-net-admin   once started, give up CAP_NET_ADMIN too. Then no
                         fwmark can be set, which wg-quick does for a default
                         route; socket buffers end at net.core.rmem_max and
                         wmem_max; and the interface isn't followed to another
                         namespace
      --socket-owner [USER][:GROUP]
                         let this user or this group, too, use the
                         configuration socket: read the keys, and set all
      --monitor-socket GROUP
                         let this group see the state and the counters, and no
                         key: a socket IFACE.monitor, which changes nothing
      --threads N        move packets with N threads, 2 to 64; auto: 2 where
                         there are up to 3 processors, else one each, up to 10
      --staged-memory MIB
                         keep so much of what waits for a handshake, of all
                         peers together, 1 to 1024; default: 16
"""

_ENVIRONMENT = """\
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
  PYWG_LISTEN_ADDRESS    as --listen-address; several with commas
  PYWG_BIND_DEVICE       as --bind-device
  PYWG_SANDBOX           0: as --no-sandbox
  PYWG_USER              as --user
  PYWG_DROP_NET_ADMIN    1: as --drop-net-admin
  PYWG_SOCKET_OWNER      as --socket-owner
  PYWG_MONITOR_SOCKET    as --monitor-socket
  PYWG_THREADS           as --threads; default: auto
  PYWG_STAGED_MEMORY     as --staged-memory; default: 16
  PYWG_AEAD              a cipher of those that bench shows: not the fastest
  PYWG_LOG_FORMAT        json: log lines are JSON objects; default: text
  PYWG_STORE_TUN         1: leave the interface with systemd, which keeps it
                         over a restart; needs FileDescriptorStoreMax=
"""

_STATS = """\
Usage: pywg stats IFACE

Shows the counters and offloads of a running interface, one NAME=VALUE a line.
`wg show IFACE` shows its peers. Root may, and the groups of --socket-owner and
--monitor-socket.
"""

_LOG = """\
Usage: pywg log IFACE LEVEL

Changes how much a running interface writes to its log, until it ends.
LEVEL: verbose (or debug), info, warning, error or silent; each says also what
those after it say. The level at the start is that of LOG_LEVEL.
"""

_BENCH = """\
Usage: pywg bench [--json]

Measures for some ten seconds what this machine does for a tunnel: how fast the
ciphers are, and which offloads the kernel has. Leaves nothing behind.
      --json             for programs
"""

_GENKEY = """\
Usage: pywg genkey >FILE

Writes a new private key, as `wg genkey` does. A file that others can't read:
  (umask 077 && pywg genkey >key)
"""

_GENPSK = """\
Usage: pywg genpsk >FILE

Writes a new preshared key, as `wg genpsk` does; both ends have the same one.
"""

_PUBKEY = """\
Usage: pywg pubkey <FILE

Reads a private key and writes its public key, as `wg pubkey` does.
"""

_HELP = """\
Usage: pywg help [WHAT]

WHAT: a command, or `options`, or `environment`. Without it: an overview.
"""

_VERSION = """\
Usage: pywg version

Shows the version, as --version does.
"""

PAGES = {
    "run": _OPTIONS,
    "options": _OPTIONS,
    "environment": _ENVIRONMENT,
    "stats": _STATS,
    "log": _LOG,
    "bench": _BENCH,
    "genkey": _GENKEY,
    "genpsk": _GENPSK,
    "pubkey": _PUBKEY,
    "help": _HELP,
    "version": _VERSION,
}


def show_help(page: str = "") -> int:
    """Writes a page, by default the overview, and returns 0. Raises UsageError when there is no such page."""
    if page and page not in PAGES:
        raise UsageError(f"no help about {page!a}: it may be {', '.join(PAGES)}")
    print(PAGES[page] if page else OVERVIEW, end="")
    return 0
