"""The interface of the operating system. Linux implements it in net/ and confine/; daemon/linux.py is its System.

A device and its daemon know this module and nothing below it, so that another system is one more System. Unless its
docstring says otherwise, a method raises DeviceError with an errno and what to do about it. The caller owns what a
method returns, and closes it. Closing is idempotent.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from pywg.core.events import Endpoint
from pywg.runtime.base.accounts import Account
from pywg.runtime.base.binding import EVERYWHERE, Binding
from pywg.runtime.base.clock import CallLater
from pywg.runtime.base.log import Log
from pywg.runtime.base.reader import Loop


class Tun(Protocol):
    """An open TUN. The kernel removes the interface when it is closed."""

    fd: int
    """of the first queue; non-blocking, as all"""
    name: str
    """of the interface, at the start"""
    vnet_hdr_len: int
    """bytes of virtio header before each packet; 0 for none"""
    uso: bool
    """it takes and gives UDP superframes"""
    tunnels: bool
    """it takes and gives superframes in UDP tunnels (VXLAN, Geneve)"""
    trouble: str
    """Why it has fewer queues than were asked for, or who else may have one at any time; empty where neither is so."""
    persistent: bool
    """Another program has made it, and it stays when it is closed. Told where it was opened or taken."""

    @property
    def fds(self) -> list[int]:
        """Of all queues, the first included: 1, 2, 4 or 8."""

    def close(self) -> None:
        """No thread may use the descriptors any more."""


SOCKET_BUFFER_LEN = 7 << 20
"""Bytes of buffer that a socket is asked to have in each direction: what wireguard-go takes, and enough for 5 ms at
10 Gb/s."""


class Sockets(Protocol):
    """The UDP sockets of a device: in each shard one for each family, at least one, and non-blocking."""

    @property
    def fd4(self) -> int:
        """The descriptor of the IPv4 socket of the first shard, -1 for none."""

    @property
    def fd6(self) -> int:
        """The descriptor of the IPv6 socket of the first shard, -1 for none."""

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The descriptors of all, (IPv4, IPv6) of each shard, the first included. A family is there in all or none."""

    @property
    def trouble(self) -> str:
        """Why there are sockets for one shard, where more were asked for; else empty."""

    @property
    def port(self) -> int:
        """The port of all."""

    @property
    def ifindex(self) -> int:
        """The index of the device that they are bound to; 0 for none."""

    @property
    def udp_gro(self) -> bool:
        """Whether the kernel hands over several datagrams of one flow at once."""

    @property
    def receive_buffer(self) -> int:
        """Bytes that may wait in the smallest of them to be read."""

    @property
    def send_buffer(self) -> int:
        """Bytes that may wait in the smallest of them to be sent."""

    def set_mark(self, fwmark: int) -> None:
        """Marks what these sockets send (0: no mark). Raises BindError, and then changes no socket."""

    def hold(self) -> None:
        """No thread reads for now: datagrams take as little memory as the kernel allows."""

    def use(self) -> None:
        """After `hold`: drops the datagrams that came meanwhile, for an interface that was down."""

    def close(self) -> None:
        """No thread may use the descriptors any more."""


class LinkState(NamedTuple):
    """The present state of an interface."""

    up: bool
    mtu: int
    here: bool = True
    """Whether it is in the namespace in which the daemon was started, as far as the kernel tells."""


class Watcher(Protocol):
    """A watcher: follows the kernel's changes from `start` to `close`."""

    def start(self, loop: Loop) -> None:
        """Calls back from the event loop's next turn on."""

    def close(self) -> None:
        """Calls nothing afterwards."""


class Sources(Protocol):
    """The part of a device that a watcher of routes needs: the peers' endpoints, and the binding of the sockets."""

    @property
    def fwmark(self) -> int:
        """The mark of the UDP sockets, 0 for none."""

    @property
    def bound_ifindex(self) -> int:
        """The index of the device that the UDP sockets are bound to; 0: there are none, or they are bound to none."""

    def peers(self) -> list[int]:
        """All peers."""

    def endpoint(self, peer: int) -> Endpoint | None:
        """A peer's endpoint, with the local address that it spoke to; None when unknown, or when the peer is gone."""

    def clear_source(self, peer: int) -> None:
        """Lets the route choose the source again. The peer may be gone."""

    def rebind(self) -> bool:
        """Opens the sockets again, on the same port. False when they can't be had now."""


class Refusals(Protocol):
    """Questions to the network: why an endpoint doesn't answer."""

    def ask(self, endpoint: Endpoint, fwmark: int, told: Callable[[int], None]) -> None:
        """Calls `told` with an errno, later, if the endpoint refuses: ECONNREFUSED, EHOSTUNREACH, EACCES, ..."""

    def close(self) -> None:
        """Drops open questions."""


class Unreachables(Protocol):
    """Sockets through which the data plane tells inner senders that no peer takes their packets; -1 for none."""

    fd4: int
    fd6: int

    def close(self) -> None:
        """No thread may use the descriptors any more."""


class SocketFile(NamedTuple):
    """The file of a socket, and which one it is: another daemon's may have its name later."""

    path: str
    device: int
    inode: int


class Remover(Protocol):
    """A process that removes the daemon's sockets once the daemon has ended."""

    def finish(self) -> None:
        """Has them removed now. Idempotent, and raises nothing."""


class Confinement(NamedTuple):
    """What the data plane's threads enter at their start, as `Plane` takes it."""

    ruleset: int
    """a descriptor, -1 for none"""
    filters: tuple[bytes, bytes, bytes]
    """of system calls, for each kind of thread; empty for none"""


UNCONFINED = Confinement(-1, (b"", b"", b""))


class Folders(NamedTuple):
    """Directories in which a daemon that serves still looks for files."""

    sockets: str | None
    """of its sockets, where it removes them at its end"""
    others: Sequence[str] = ()
    """of sockets to which it connects"""


class Sandbox(Protocol):
    """The process' drop of privileges, in the order of these methods. What can't be had is left out and raises nothing,
    unless the operator asked for it."""

    def begin(self) -> None:
        """The step before the event loop exists."""

    def remover(self, files: Sequence[SocketFile]) -> Remover | None:
        """A process that may remove what this one will not be able to; None where it will."""

    def enter_root(self, folders: Folders) -> str | None:
        """Makes a root directory in which no file can be found but in `folders`, when all modules are imported. Returns
        the path that `folders.sockets` has now; `folders.others` keep theirs."""

    def drop_privileges(self) -> None:
        """Drops those of the calling thread and of threads it starts later. Sockets that need more are open by then."""

    def for_threads(self) -> AbstractContextManager[Confinement]:
        """What the data plane's threads are to start under."""

    def threads_started(self, *, confined: bool, filtered: bool) -> None:
        """Takes note of whether they could be put under the ruleset, and under the filters."""

    def close(self, socket_directory: str | None) -> None:
        """Forbids to open files, and so to import modules. Files in `socket_directory` can still be removed."""

    def watcher(self) -> Watcher:
        """A watcher that tells in the log what the sandbox refused this process."""

    def stats(self) -> dict[str, int]:
        """`sandbox_*`: the steps that hold, and how many system calls were refused."""


class System(Protocol):
    """An operating system."""

    def open_tun(self, name: str, *, offload: bool = True, tunnels: bool = True, queues: int = 1) -> Tun:
        """Makes interface `name` (or a numbered one, when it contains %d), down, with WireGuard's usual MTU.

        `queues`: 1, 2, 4 or 8; where the kernel gives fewer, `trouble` says why.
        """

    def take_tun(self, fd: int, *, offload: bool = True, tunnels: bool = True, queues: int = 1) -> Tun:
        """Takes over a TUN that another program made; further queues are opened, if it lets."""

    def adopt_tun(self, fds: Sequence[int], *, vnet_hdr_len: int, uso: bool, tunnels: bool) -> Tun:
        """Goes on with a TUN that another process of ours has, as it is: that one may yet go on with it. Owns `fds`,
        its queues."""

    def adopt_sockets(self, pairs: Sequence[tuple[int, int]]) -> Sockets:
        """Goes on with UDP sockets that another process of ours has, as they are: (IPv4, IPv6) of each shard, -1 for
        none. Owns all."""

    def spread(self, interface: str) -> int:
        """Has the kernel receive what is written to a TUN of ours on all processors, each flow on one; how many.

        Raises OSError where that can't be had.
        """

    def spread_already(self, interface: str) -> int:
        """On how many processors the kernel receives what is written to a TUN; 0: where it is written.

        Raises OSError where that can't be seen.
        """

    def keep_flows(self, fd: int) -> None:
        """Has each flow of a TUN of ours keep its queue, by whichever queue its answers come. `fd`: one of its queues.

        Raises OSError where that can't be had.
        """

    def open_sockets(
        self, port: int, fwmark: int, *, udp_gro: bool = True, binding: Binding = EVERYWHERE, shards: int = 1
    ) -> Sockets:
        """UDP sockets of both families on `port`, or of the one that `binding` asks for; 0 chooses a free port.

        `shards`: so many of each; where that can't be had, one, and `trouble` says why.
        """

    def link_watcher(
        self, tun_fd: int, changed: Callable[[LinkState], None], gone: Callable[[], None], log: Log
    ) -> Watcher:
        """Calls `changed` for the first state and each new one, and `gone` once when the interface is deleted."""

    def route_watcher(self, sources: Sources, log: Log, *, device: str) -> Watcher:
        """Clears sources that are no longer right, and rebinds when `device` comes back. Its failures are logged."""

    def refusals(self, call_later: CallLater, *, binding: Binding) -> Refusals:
        """Questions that go through sockets of their own. Raises nothing."""

    def unreachables(self, log: Log) -> Unreachables:
        """Sockets for inner senders. Raises nothing."""

    def may_become(self, user: Account) -> bool:
        """Whether this process has the right to become that user, or is it."""

    def sandbox(
        self,
        log: Log,
        *,
        enabled: bool,
        devices: bool,
        user: Account | None,
        net_admin: bool,
        guest: bool = False,
        groups: bool = False,
    ) -> Sandbox:
        """A sandbox. Unless `enabled`, its steps only change to `user`, and drop CAP_NET_ADMIN unless `net_admin`.
        `devices`: sockets will be bound to devices. `groups`: several will share a port. `guest`: the process does more
        than this, and `begin` is to hold for the calling thread and those that it starts."""

    def damages_equal_tail(self) -> bool:
        """Whether the kernel may damage datagrams of one length that it cuts from one send. Raises nothing."""
