"""One interface of a daemon from its start to its end: its TUN, sockets, log and device, and what ends it alone.

The process around it (service.py) may have others, which this one's end leaves alone.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pywg._fastpath import Plane
from pywg.runtime.base.journal import Journal, is_stream
from pywg.runtime.base.log import Log
from pywg.runtime.base.log_file import open_log_file
from pywg.runtime.base.log_output import Output, StandardError, SystemLog
from pywg.runtime.base.poller import Poller
from pywg.runtime.base.processors import usable_processors
from pywg.runtime.base.reader import Reader
from pywg.runtime.base.system import (
    SOCKET_BUFFER_LEN,
    LinkState,
    Sandbox,
    Sockets,
    System,
    Unreachables,
    Watcher,
)
from pywg.runtime.daemon.boot_timer import BootTimer
from pywg.runtime.daemon.notify import Notifier
from pywg.runtime.daemon.options import Options
from pywg.runtime.device.carried import DeviceState
from pywg.runtime.device.device import Device
from pywg.runtime.uapi.interface_sockets import InterfaceSockets
from pywg.runtime.uapi.server import HandOver

if TYPE_CHECKING:
    from pywg.runtime.daemon.take_over import TakenInterface

NO_CIPHER = "none"
"""The AEAD of a build without one (PYWG_NULL_CIPHER of setup.py)."""


class Interface:
    """What one interface has. `close` gives back what the constructor opened; `end`, before, what the others did.

    Raises DeviceError that says what can't be had.
    """

    def __init__(
        self,
        options: Options,
        system: System,
        taken: "TakenInterface | None" = None,
        *,
        output: Output | None = None,
    ) -> None:
        """`taken`: what another daemon has of this interface, which this one takes over. `output`: where the log goes,
        None for where the options say."""
        self._options = options
        self._system = system
        self._said: set[str] = set()
        self._sockets_trouble = ""
        self._taken = taken
        self._frozen = False
        self._late: LinkState | None = None
        self.stopped = asyncio.Event()
        with contextlib.ExitStack() as stack:
            if taken is not None:
                self.tun = system.adopt_tun(
                    taken.queues, vnet_hdr_len=taken.vnet_hdr_len, uso=taken.uso, tunnels=taken.tunnels
                )
            else:
                offload, tunnels, queues = options.tun_offload, options.vxlan_offload, options.shards
                if options.tun_fd is None:
                    self.tun = system.open_tun(options.interface, offload=offload, tunnels=tunnels, queues=queues)
                else:
                    self.tun = system.take_tun(options.tun_fd, offload=offload, tunnels=tunnels, queues=queues)
            stack.callback(self.tun.close)
            self.name = self.tun.name
            self.sockets = InterfaceSockets(
                self.name,
                fd=options.uapi_fd,
                owner=options.socket_owner,
                monitor_owner=options.monitor_owner,
                of_namespace=options.namespace_socket,
                others=None if taken is None else (taken.configuration, taken.monitor),
            )
            stack.callback(self.sockets.close)
            self._system_log = system_log_of(options, self.name) if output is None else None
            self.log = open_log(options, self.name, self._system_log, output=output)
            stack.callback(self.log.close)
            self.shards = len(self.tun.fds)
            self._helpers = options.helpers(self.shards)
            self._look_at_shards()
            self._rps = self._spread() if options.tun_rps and options.tun_fd is None else 0
            self.keeps_flows = self._keep_flows() if taken is None else taken.keeps_flows
            self._opened = stack.pop_all()
        self._running = contextlib.AsyncExitStack()

    def close(self) -> None:
        """Removes the interface and its sockets' files, and writes what the log's reader takes. Idempotent."""
        self._opened.close()

    def log_to_system(self) -> None:
        """The daemon is ready: in the background its log goes to the system's from now on."""
        redirect(self.log, self._options, self._system_log)

    # The start, in the order of these methods. What fails is the caller's to end.

    def follow_link(self, loop: asyncio.AbstractEventLoop, poller: Poller, notifier: Notifier) -> None:
        """Follows the link and the sockets' files: hearing of other namespaces takes a privilege that is dropped next.

        The first state comes a turn of the loop later.
        """
        self._notifier = notifier
        self._poller = poller
        self.log.follow(loop.call_later)
        self._running.callback(self.log.follow, None)
        self._follow(self._system.link_watcher(self.tun.fd, self._link_changed, self._tun_gone, self.log))
        self._unreachables = self._system.unreachables(self.log)
        self._running.callback(self._unreachables.close)
        self._watch_socket()

    def start_device(self, sandbox: Sandbox) -> Plane:
        """Starts the threads that move packets."""
        options = self._options
        stack, loop, log = self._running, self._poller, self.log
        with sandbox.for_threads() as confinement:
            plane = Plane(
                aead=options.aead,
                udp_gso=options.udp_gso,
                udp_gso_equal_tail=may_segment_equal(options, self._system, log),
                coalesce=options.tun_offload,
                shards=self.shards,
                helpers=self._helpers,
                turns=options.turns,
                staged_bytes=options.staged_bytes,
                ruleset=confinement.ruleset,
                filters=confinement.filters,
            )
        self._plane = plane
        stack.callback(plane.close)
        if plane.aead == NO_CIPHER:
            log.error("THIS BUILD DOES NOT ENCRYPT: it is for benchmarks, and any packet that it sends can be read")
        parts = f" in {plane.shards} shards" if plane.shards > 1 else ""
        log.info(f"{plane.threads} threads{parts} move packets")
        log.debug(f"data plane: {_memory_line(plane.memory())}")
        timer = BootTimer(loop, log)
        stack.callback(timer.close)
        refusals = self._system.refusals(loop.call_later, binding=options.binding)
        stack.callback(refusals.close)
        self.device = Device(
            plane,
            log=log,
            call_later=loop.call_later,
            boot_later=timer.call_later,
            tun_gone=self._tun_gone,
            refusals=refusals,
            open_sockets=self._open_sockets,
        )
        stack.callback(self.device.close)
        stack.callback(plane.detach_tun)
        self._reader = Reader(loop, plane.event_fd, self.device.on_plane_ready, what="data plane", log=log)
        stack.callback(self._reader.close)
        if self._taken is None:
            self._attach()
        return plane

    def answer(self, more_stats: Callable[[], Mapping[str, int | str]], hand_over: HandOver | None = None) -> None:
        """Follows the routes, and answers on the sockets."""
        self._follow(self._system.route_watcher(self.device, self.log, device=self._options.binding.device))

        def stats() -> Mapping[str, int | str]:
            return {**more_stats(), "tun_rps": self._rps, "tun_steering": int(self.keeps_flows)}

        for server in self.sockets.servers(self.device, self.log, stats, hand_over):
            server.start(self._poller)
            self._running.push_async_callback(server.close)
        self.log.info("ready")

    def descriptors(self) -> list[int]:
        """Those by which another process that has them would keep the interface, its UDP port or its sockets."""
        found = [*self.tun.fds, *self.sockets.listeners()]
        with contextlib.suppress(AttributeError):  # it has not come so far
            found += [self._unreachables.fd4, self._unreachables.fd6]
            found += [fd for pair in self.device.udp_descriptors() for fd in pair]
        return [fd for fd in found if fd >= 0]

    # Handover to another process

    def freeze(self) -> None:
        """Sends and receives nothing until `thaw`, which is due also where this raises."""
        self._frozen = True
        self._reader.pause()
        self._plane.detach_tun()
        self.device.freeze()

    def thaw(self) -> None:
        """Goes on as before."""
        self.device.thaw()
        self._go_on()

    def hand_over(self, pid: int) -> None:
        """All of it is the affair of process `pid` now: has this one end, and leave files and interface to that."""
        self.sockets.hand_over()
        self.stop(f"handed over to PID {pid}")

    def resume(self, state: DeviceState, udp: Sequence[tuple[int, int]]) -> None:
        """Puts in place what another daemon has had. Takes over the UDP sockets, pairs of IPv4 and IPv6 (-1: none).

        Raises DeviceError, MemoryError.
        """
        self._frozen = True
        self._set_tun([-1])  # what takes memory is there before the other daemon has its last word
        sockets = self._system.adopt_sockets(udp) if udp else None
        self.device.resume(state, sockets)

    def go_on(self) -> None:
        """From now on this daemon is the one that sends, and that its clients see."""
        self.device.go_on()
        self._go_on()
        self.sockets.are_ours()

    def _go_on(self) -> None:
        self._set_tun(self.tun.fds)
        self._reader.go_on()
        self._frozen = False
        if self._late is not None:
            self._link_changed(self._late)
            self._late = None

    def _attach(self) -> None:
        self._set_tun(self.tun.fds)
        self._reader.start()

    def _set_tun(self, fds: Sequence[int]) -> None:
        """Has the plane use the TUN by its queues. -1 alone: not yet, but with all that it needs for that."""
        tun = self.tun
        first, *more = fds
        self._plane.attach_tun(first, vnet_hdr_len=tun.vnet_hdr_len, uso=tun.uso, tunnels=tun.tunnels, more=more)

    def leave_tun(self) -> None:
        """Leaves the TUN with the service manager, if the operator wants that: the first queue keeps the interface, and
        the next daemon opens the others again."""
        if self._options.store_tun and self._taken is None:  # else it has it already
            self._notifier.keep(self.tun.fd, self._options.stored_tun)

    def take_tun_back(self) -> None:
        """Has the manager let go of it: this interface is to end, and the daemon is not."""
        if self._options.store_tun:
            self._notifier.forget(self._options.stored_tun)

    async def end(self) -> None:
        """Closes all that was started, in reverse order."""
        await self._running.aclose()

    def stop(self, why: str) -> None:
        """Has this interface end."""
        if not self.stopped.is_set():
            self.log.info(f"{why}: shutting down")
            self.stopped.set()

    def _look_at_shards(self) -> None:
        """Tells of fewer than were asked for and of others who may read a queue, and warns of more than are of use."""
        if self.shards > 1 and self.shards > (processors := usable_processors()):
            text = f"more shards ({self.shards}) than processors ({processors}): their threads wait for one another"
            self.log.warning(text)
        if self.tun.trouble:
            self.log.error(self.tun.trouble)

    def _warn_once(self, text: str) -> None:
        if text and text not in self._said:
            self._said.add(text)
            self.log.warning(text)

    def _spread(self) -> int:
        """On how many processors the kernel receives what is written to the TUN; 0: where it is written. Of one that is
        taken over that is only asked: the daemon before may yet go on with it."""
        try:
            return (self._system.spread if self._taken is None else self._system.spread_already)(self.name)
        except OSError as error:
            self.log.info(f"without receive packet steering of {self.name}: {error.strerror}")
            return 0

    def _keep_flows(self) -> bool:
        """Whether a program of ours keeps each flow in one queue; else the kernel may move one."""
        if self.shards == 1:
            return False
        if self.tun.persistent or (self._options.tun_fd is not None and not self._options.tun_is_ours):
            self.log.info(f"which queue of {self.name} a flow has is left to the program that made it")
            return False
        try:
            self._system.keep_flows(self.tun.fd)
        except OSError as error:
            self.log.info(f"the kernel may move a flow to another queue of {self.name}: {error.strerror}")
            return False
        return True

    def _follow(self, watcher: Watcher) -> None:
        self._running.callback(watcher.close)
        watcher.start(self._poller)

    def _tun_gone(self) -> None:
        self.stop("the interface was deleted")

    def _open_sockets(self, port: int, fwmark: int) -> Sockets:
        options = self._options
        sockets = self._system.open_sockets(
            port, fwmark, udp_gro=options.udp_gro, binding=options.binding, shards=self.shards
        )
        if sockets.trouble and sockets.trouble != self._sockets_trouble:
            self.log.error(sockets.trouble)
        self._sockets_trouble = sockets.trouble
        have = sockets.receive_buffer
        if have < SOCKET_BUFFER_LEN:
            self._warn_once(
                f"UDP sockets receive into {have >> 10} KiB, and not {SOCKET_BUFFER_LEN >> 10}, so bursts may be lost: "
                "without CAP_NET_ADMIN, net.core.rmem_max and wmem_max limit them"
            )
        return sockets

    def _link_changed(self, state: LinkState) -> None:
        if self._frozen:
            self._late = state
            return
        through: Unreachables = self._unreachables
        self.device.set_mtu(state.mtu)
        self.device.answer_through(*((through.fd4, through.fd6) if state.here else (-1, -1)))
        if state.up:
            self.device.up()
        else:
            self.device.down()
        self._notifier.status(f"{self.name} is {'up' if state.up else 'down'}, MTU {state.mtu}")

    def _watch_socket(self) -> None:
        fd = self.sockets.configuration.watch()
        if fd is None:
            return

        def look() -> None:
            try:
                with contextlib.suppress(BlockingIOError):
                    os.read(fd, 4096)
            finally:
                if not self.sockets.configuration.present():
                    self.stop("the configuration socket was removed")

        self._running.callback(os.close, fd)
        reader = Reader(self._poller, fd, look, what="the configuration socket's file", log=self.log)
        reader.start()
        self._running.callback(reader.close)
        look()


def open_log(options: Options, name: str, system_log: Output | None, *, output: Output | None = None) -> Log:
    """The log of what is called `name`, as it begins."""
    if output is None and options.log_file:
        output = open_log_file(options.log_file, links=not options.log_file_is_real)
    elif output is None:
        output = _standard_error(system_log, options)
    return Log(name, options.log_level, form=options.log_form, output=output)


def redirect(log: Log, options: Options, system_log: Output | None) -> None:
    """Sends lines to the system's log from now on, where the daemon is in the background and has no other log."""
    if system_log is not None and not options.keep_output and not options.foreground:
        log.redirect(system_log)


def system_log_of(options: Options, interface: str) -> Output | None:
    """Where the log goes once a daemon in the background is ready: the journal, or /dev/log. None: where it began."""
    if options.log_file or (options.foreground and not is_stream(options.journal_stream)):
        return None
    return Journal(interface, StandardError() if options.foreground else SystemLog())


def _standard_error(system_log: Output | None, options: Options) -> Output:
    return system_log if system_log is not None and options.foreground else StandardError(system_log)


def may_segment_equal(options: Options, system: System, log: Log) -> bool:
    """Whether a UDP_SEGMENT send may end with a datagram as long as the others. Warns on kernels that damage it."""
    wanted = options.udp_gso_equal_tail
    if not options.udp_gso or not system.damages_equal_tail():
        return wanted is not False
    log.warning(
        f"Linux {os.uname().release} may damage datagrams of one length that it cuts from one send: "
        + ("they are cut none the less, as asked for" if wanted else "they are sent one by one")
    )
    return bool(wanted)


def _memory_line(memory: dict[str, int]) -> str:
    """The ceiling of the data plane's memory, and what raises it."""
    return (
        f"at most {memory['ceiling'] / (1 << 20):.1f} MiB without peers, "
        f"{memory['per_peer'] / 1024:.1f} KiB more a peer and {memory['per_allowed_ip']} bytes an allowed IP"
    )
