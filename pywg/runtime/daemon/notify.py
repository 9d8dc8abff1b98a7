"""Messages to the service manager by the protocol of sd_notify(3): datagrams on a Unix socket.

A daemon in the foreground sends them. For a daemon in the background, its parent reports with its exit status.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Sequence

from pywg.errors import ConfigError
from pywg.runtime.base.clock import CallLater

PATIENCE_S = 2.0
"""Seconds within which a woken thread goes round its loop, however busy the machine is."""
_SEND_TIMEOUT_S = 5


class Notifier:
    """Sends to the socket at `address` (NOTIFY_SOCKET: a path, or an abstract name after "@"), if there is one.

    It connects at once, because the sandbox forbids it later: a message then needs the descriptor alone. A manager that
    doesn't listen is no reason to end, so nothing here raises.
    """

    def __init__(self, address: str | None) -> None:
        self._socket = None if address is None else _connect(address)

    @property
    def connected(self) -> bool:
        """Whether a service manager may listen."""
        return self._socket is not None

    def ready(self) -> None:
        """Says that the daemon answers."""
        self._send("READY=1")

    def ready_as(self, pid: int) -> None:
        """Says that another process, which this one has started, is the daemon from now on, and answers."""
        self._send(f"MAINPID={pid}\nREADY=1")

    def main_is(self, pid: int) -> None:
        """Says that another process is the daemon from now on."""
        self._send(f"MAINPID={pid}")

    def stopping(self) -> None:
        """Says that the daemon is ending."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Sends one line for `systemctl status`."""
        self._send("STATUS=" + text.replace("\n", " "), socket.MSG_DONTWAIT)

    def watchdog(self) -> None:
        """Says that the daemon is alive. Never waits: a watchdog that waits would hang the loop that it watches."""
        self._send("WATCHDOG=1", socket.MSG_DONTWAIT)

    def keep(self, fd: int, name: str) -> None:
        """Leaves a copy of `fd` with the manager, which passes it to this daemon's next start (LISTEN_FDS)."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                socket.send_fds(self._socket, [f"FDSTORE=1\nFDNAME={name}".encode()], [fd])

    def forget(self, name: str) -> None:
        """Has the manager close the copy that it keeps under `name`."""
        self._send(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def close(self) -> None:
        """Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str, flags: int = 0) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(message.encode(), flags)


class Pulse:
    """A check that counters grow from look to look, with patience for a busy machine."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seen: tuple[int, ...] = ()
        self._grew_at: list[float] = []

    def beats(self, counters: Sequence[int]) -> bool:
        """False when a counter has not changed for PATIENCE_S seconds."""
        now = self._now()
        if len(counters) != len(self._seen):
            self._grew_at = [now] * len(counters)
        else:
            pairs = zip(counters, self._seen, self._grew_at, strict=True)
            self._grew_at = [now if counter != seen else grew_at for counter, seen, grew_at in pairs]
        self._seen = tuple(counters)
        return all(now - grew_at < PATIENCE_S for grew_at in self._grew_at)


def keep_watchdog(notifier: Notifier, seconds: float, alive: Callable[[], bool], call_later: CallLater) -> None:
    """Sends WATCHDOG=1, now and at each half of `seconds`, while `alive()` is true; `call_later` is the event loop's.

    The loop sends it, so a loop that hangs doesn't.
    """

    def look() -> None:
        call_later(seconds / 2, look)
        if alive():
            notifier.watchdog()

    look()


def watchdog_seconds(usec: str, pid: str, own_pid: int) -> float | None:
    """Seconds that WATCHDOG_USEC and WATCHDOG_PID ask for; None when they ask for nothing, or ask another process.

    Raises ConfigError when one is no number.
    """
    if not usec:
        return None
    for name, text in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid or "0")):
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise ConfigError(f"{name}={text!r} is not a number")
    if int(usec) == 0 or (pid and int(pid) != own_pid):
        return None
    return int(usec) / 1e6


def _connect(address: str) -> socket.socket | None:
    if address[:1] not in ("/", "@"):
        return None  # vsock:, which is for the manager of a whole virtual machine
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC))
        sock.connect("\0" + address[1:] if address[0] == "@" else address)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", _SEND_TIMEOUT_S, 0))
        stack.pop_all()
        return sock
    return None
