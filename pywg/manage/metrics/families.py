"""The table of metrics: which statistic of a daemon becomes which metric, with its help.

Names follow Prometheus: base units, `_total` for what only grows. A counter's words are those of reasons.py.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from pywg.constants import REJECT_AFTER_TIME
from pywg.manage.reasons import WENT_WELL


class Metric(NamedTuple):
    """One metric of an interface or of a peer. `labels` are those beside `interface`, or beside a peer's."""

    name: str
    kind: str
    """gauge, counter, histogram or info"""
    help: str
    labels: tuple[str, ...] = ()

    @property
    def series(self) -> tuple[str, ...]:
        """The names that a query can use."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (f"{self.name}_info" if self.kind == "info" else self.name,)


UP: Final = Metric("pywg_up", "gauge", "Whether the daemon has answered; 0: it is down, hangs, or may not be asked")
SECONDS: Final = Metric("pywg_answer_seconds", "gauge", "Time that the daemon took to answer")
BUILD: Final = Metric("pywg_build", "info", "The daemon's version", ("version",))
CIPHER: Final = Metric("pywg_cipher", "info", "The cipher's backend in use", ("backend",))

NUMBERS: Final[Mapping[str, Metric]] = {
    "up": Metric("pywg_interface_up", "gauge", "Whether the interface is up"),
    "sockets_open": Metric("pywg_sockets_open", "gauge", "Whether the interface has its UDP sockets"),
    "mtu": Metric("pywg_mtu_bytes", "gauge", "The interface's MTU"),
    "peers": Metric("pywg_peers", "gauge", "Peers of the interface"),
    "handshakes": Metric("pywg_handshakes_total", "counter", "Handshakes that were completed"),
    "secrets_locked": Metric("pywg_secrets_locked", "gauge", "Whether keys are kept from swap space"),
    "receive_buffer": Metric("pywg_receive_buffer_bytes", "gauge", "Buffer of the UDP sockets for receiving"),
    "send_buffer": Metric("pywg_send_buffer_bytes", "gauge", "Buffer of the UDP sockets for sending"),
    "threads": Metric("pywg_threads", "gauge", "Threads that move packets"),
    "shards": Metric("pywg_shards", "gauge", "Parts of the interface with a queue, sockets and threads of their own"),
    "lanes": Metric("pywg_lanes", "gauge", "Ways on which packets are written to the interface at the same time"),
    "turns": Metric("pywg_turns", "gauge", "Whether each thread sends what it has sealed, when it is its turn"),
    "processors": Metric("pywg_processors", "gauge", "Processors that the daemon may use"),
    "uptime_seconds": Metric("pywg_uptime_seconds", "gauge", "Time since the daemon's start"),
    "tun_rps": Metric(
        "pywg_tun_rps_processors", "gauge", "Processors that the kernel receives the interface's packets on"
    ),
    "tun_steering": Metric(
        "pywg_tun_steering", "gauge", "Whether a program of pywg's keeps each flow in one queue of the interface"
    ),
}
"""Of statistics that are one number."""

DROPS: Final = Metric(
    "pywg_drops_total", "counter", "What was lost or refused, by reason: docs/counters.md says what to do", ("reason",)
)
TRAFFIC_METRICS: Final[Mapping[str, Metric]] = {
    name: Metric(f"pywg_{name}_total", "counter", f"{words[0].upper()}{words[1:]}") for name, words in WENT_WELL.items()
}
"""Of counters of what went well."""
BATCHES: Final[Mapping[str, Metric]] = {
    "tx": Metric("pywg_tx_batch_datagrams", "histogram", "Datagrams that one system call has sent"),
    "rx": Metric("pywg_rx_batch_datagrams", "histogram", "Datagrams that one system call has received"),
}
OFFLOADS: Final = Metric("pywg_offload", "gauge", "Whether an offload is in use", ("offload",))
MEMORY: Final = Metric("pywg_memory_bytes", "gauge", "The data plane's memory, and bounds of what grows", ("part",))
CEILING: Final = Metric(
    "pywg_memory_ceiling_bytes", "gauge", "The most that traffic can make of the data plane's memory"
)
SANDBOX: Final = Metric(
    "pywg_sandbox", "gauge", "What the daemon has given up: 0 is what it has not; of Landlock the version", ("layer",)
)
REFUSED: Final = Metric(
    "pywg_sandbox_refused_calls_total", "counter", "System calls that the sandbox has refused, by thread", ("thread",)
)

RESIDENT: Final = Metric("pywg_resident_memory_bytes", "gauge", "Memory of the daemon's process")
CPU: Final = Metric(
    "pywg_thread_cpu_seconds_total", "counter", "Processor time of the daemon's threads, by name", ("thread",)
)

PEER_LABELS: Final = ("interface", "public_key", "peer")
_UP_HELP: Final = f"Whether there was a handshake within {REJECT_AFTER_TIME:g} s, so that data can pass"
PEER_UP: Final = Metric("pywg_peer_up", "gauge", _UP_HELP)
PEER_TROUBLE: Final = Metric(
    "pywg_peer_trouble", "gauge", "Whether handshakes get no answer, or there is none although a keepalive is set"
)
PEER_HANDSHAKE: Final = Metric(
    "pywg_peer_last_handshake_timestamp_seconds", "gauge", "When the last handshake was; nothing for never"
)
PEER_UNANSWERED: Final = Metric(
    "pywg_peer_unanswered_initiations", "gauge", "Initiations since the last handshake that have no answer"
)
PEER_RX: Final = Metric(
    "pywg_peer_receive_bytes_total", "counter", "Bytes received from the peer, with WireGuard's own"
)
PEER_TX: Final = Metric("pywg_peer_transmit_bytes_total", "counter", "Bytes sent to the peer, with WireGuard's own")
PEER: Final = (PEER_UP, PEER_TROUBLE, PEER_HANDSHAKE, PEER_UNANSWERED, PEER_RX, PEER_TX)

SANDBOX_LAYERS: Final = (
    *("no_new_privs", "capabilities", "root", "landlock", "landlock_threads", "seccomp", "seccomp_threads"),
    "net_admin_dropped",
)
"""Of statistics that begin with sandbox_."""
SANDBOX_THREADS: Final = ("loop", "sender", "receiver", "helper")
LEFT_OUT: Final = frozenset(
    [
        "aead_asked",  # what was asked for, and what there is: settings, which don't change while a daemon runs
        "aead_available",
        "sandbox_user",
        "sandbox_refused",  # the sum of those by thread
        "sandbox_refused_last",  # a number of a system call is no quantity; the log names it
        *(f"sandbox_refused_{thread}_last" for thread in SANDBOX_THREADS),
        "memory_per_peer",  # what one more adds to the ceiling
        "memory_per_allowed_ip",
        "bind_device",
        "listen_addresses",
    ]
)
"""Statistics that are no metric."""

ALL: Final = (
    *(UP, SECONDS, BUILD, CIPHER, *NUMBERS.values(), DROPS, *TRAFFIC_METRICS.values(), *BATCHES.values()),
    *(OFFLOADS, MEMORY, CEILING, SANDBOX, REFUSED, RESIDENT, CPU, *PEER),
)
