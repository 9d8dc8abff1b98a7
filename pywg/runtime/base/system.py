"""What the daemon asks of the operating system. Linux answers in net/ and confine/; daemon/linux.py is its System.

A device and its daemon know this module and nothing below it, so that another system is one more System. Every method
raises DeviceError with an errno and what to do about it, unless it says otherwise. What is returned belongs to the
caller, who closes it; closing is idempotent.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from pywg.core.events import Endpoint
from pywg.runtime.base.binding import EVERYWHERE, Binding
from pywg.runtime.base.clock import CallLater
from pywg.runtime.base.log import Log
from pywg.runtime.base.reader import Loop


class Tun(Protocol):
    """An open TUN interface, which goes away with it."""

    fd: int
    """non-blocking"""
    name: str
    """of the interface, at the start"""
    vnet_hdr_len: int
    """bytes of virtio header before each packet; 0 for none"""
    uso: bool
    """it takes and gives UDP superframes"""

    def close(self) -> None:
        """No thread may use the descriptor any more."""


class Sockets(Protocol):
    """The UDP sockets of a device, one a family; at least one is there. They are non-blocking."""

    @property
    def fd4(self) -> int:
        """The descriptor of the IPv4 socket, -1 for none."""

    @property
    def fd6(self) -> int:
        """The descriptor of the IPv6 socket, -1 for none."""

    @property
    def port(self) -> int:
        """Of both."""

    @property
    def ifindex(self) -> int:
        """Of the device that they are bound to, 0 for none."""

    @property
    def udp_gro(self) -> bool:
        """Whether the kernel hands several datagrams of one flow over at once."""

    def set_mark(self, fwmark: int) -> None:
        """Marks what these sockets send (0: no mark). Raises BindError, and then neither is changed."""

    def hold(self) -> None:
        """Nobody reads for now: what comes may take as little memory as the kernel allows."""

    def use(self) -> None:
        """After `hold`: what came meanwhile was for an interface that was down, and is dropped."""

    def close(self) -> None:
        """No thread may use the descriptors any more."""


class LinkState(NamedTuple):
    """An interface, as it is now."""

    up: bool
    mtu: int
    here: bool = True
    """It is in the namespace in which the daemon was started, as far as can be told."""


class Watcher(Protocol):
    """Follows something, from `start` to `close`."""

    def start(self, loop: Loop) -> None:
        """Calls back from the loop's next turn on."""

    def close(self) -> None:
        """Nothing is called afterwards."""


class Sources(Protocol):
    """What a watcher of routes asks of a device: the peers' ways, and the sockets that they go through."""

    @property
    def fwmark(self) -> int:
        """The mark of the UDP sockets, 0 for none."""

    @property
    def bound_ifindex(self) -> int:
        """The index of the device that the UDP sockets are bound to; 0: there are none, or they are bound to none."""

    def peers(self) -> list[int]:
        """All peers."""

    def endpoint(self, peer: int) -> Endpoint | None:
        """Where a peer is, and what of ours it spoke to; None when it isn't known, or the peer is gone."""

    def clear_source(self, peer: int) -> None:
        """Let the route choose; the peer may be gone."""

    def rebind(self) -> bool:
        """Opens the sockets again, on the same port. False: that can't be now."""


class Refusals(Protocol):
    """Asks the network why an endpoint doesn't answer."""

    def ask(self, endpoint: Endpoint, fwmark: int, told: Callable[[int], None]) -> None:
        """Calls `told` with an errno, later, if the endpoint refuses: ECONNREFUSED, EHOSTUNREACH, EACCES, ..."""

    def close(self) -> None:
        """No question is answered any more."""


class Unreachables(Protocol):
    """Sockets through which inner senders are told that no peer takes their packets; -1 where there is none."""

    fd4: int
    fd6: int

    def close(self) -> None:
        """No thread may use the descriptors any more."""


class Sandbox(Protocol):
    """What the process gives up, in the order of these methods. None raises: what can't be had is left out."""

    def begin(self) -> None:
        """Before there is an event loop."""

    def drop_privileges(self) -> None:
        """Of the calling thread and those it starts afterwards; sockets that need other capabilities are open."""

    def for_threads(self) -> AbstractContextManager[int]:
        """A ruleset for the data plane's threads to start under; -1 for none."""

    def threads_started(self, *, confined: bool) -> None:
        """Whether they could be put under it."""

    def close(self, socket_directory: str | None) -> None:
        """No file is opened any more, and no module imported. Files in `socket_directory` can still be removed."""

    def stats(self) -> dict[str, int]:
        """`sandbox_*`: what holds."""


class System(Protocol):
    """One operating system."""

    def open_tun(self, name: str, *, offload: bool = True) -> Tun:
        """Makes interface `name` (or a numbered one, when it contains %d), down, with WireGuard's usual MTU."""

    def take_tun(self, fd: int, *, offload: bool = True) -> Tun:
        """Takes over a TUN that another program made."""

    def open_sockets(self, port: int, fwmark: int, *, udp_gro: bool = True, binding: Binding = EVERYWHERE) -> Sockets:
        """UDP sockets of both families on `port`, or of the one that `binding` asks for; 0 chooses a free port."""

    def link_watcher(
        self, tun_fd: int, changed: Callable[[LinkState], None], gone: Callable[[], None], log: Log
    ) -> Watcher:
        """Calls `changed` for the first state and each new one, and `gone` once when the interface is deleted."""

    def route_watcher(self, sources: Sources, log: Log, *, device: str) -> Watcher:
        """Clears sources that are no longer right, and rebinds when `device` comes back. Its failures are logged."""

    def refusals(self, call_later: CallLater, *, binding: Binding) -> Refusals:
        """Asks through sockets of its own. Raises nothing."""

    def unreachables(self, log: Log) -> Unreachables:
        """Raises nothing."""

    def sandbox(self, log: Log, *, enabled: bool, devices: bool) -> Sandbox:
        """With `enabled` False no step does anything. `devices`: sockets will be bound to devices."""

    def damages_equal_tail(self) -> bool:
        """Whether datagrams of one length that are cut from one send may leave damaged. Raises nothing."""

    def import_late(self) -> None:
        """Imports what is first needed later: once the sandbox is closed, no module can be."""
