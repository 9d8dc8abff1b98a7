"""The daemon from its start to its end: what it opens, in which order, and what ends it.

It ends well on SIGTERM, on SIGINT, when its interface is deleted and when its configuration socket is removed.
Interface and socket then go with it. It counts and survives every other failure of the network.
"""

import asyncio
import contextlib
import errno
import logging
import os
import resource
import select
import signal
import socket
import traceback
from collections.abc import Callable
from typing import Any

from pywg import __version__
from pywg._fastpath import Plane, available_aeads, choose_aead, reserve_fill
from pywg.core.crypto import private_key_from, public_key_of
from pywg.dataplane.crypto.secret import Secret
from pywg.errors import ConfigError, DeviceError
from pywg.runtime.base import clock
from pywg.runtime.base.failures import failed, needing
from pywg.runtime.base.journal import Journal, is_stream
from pywg.runtime.base.libc import forbid_dumps
from pywg.runtime.base.log import Level, Log
from pywg.runtime.base.log_file import open_log_file
from pywg.runtime.base.log_output import Output, StandardError, SystemLog, system_log_folder
from pywg.runtime.base.poller import Poller
from pywg.runtime.base.processors import READING_THREADS
from pywg.runtime.base.reader import Loop, Reader
from pywg.runtime.base.system import (
    SOCKET_BUFFER_LEN,
    Folders,
    LinkState,
    Sandbox,
    Sockets,
    System,
    Tun,
    Unreachables,
    Watcher,
)
from pywg.runtime.daemon.boot_timer import BootTimer
from pywg.runtime.daemon.notify import Notifier, Pulse, keep_watchdog
from pywg.runtime.daemon.options import STORED_TUN, Options
from pywg.runtime.device.device import Device
from pywg.runtime.uapi.interface_sockets import InterfaceSockets

NO_CIPHER = "none"
"""The AEAD of a build without one (PYWG_NULL_CIPHER of setup.py)."""

DESCRIPTORS = 32
"""Descriptors that a daemon needs at least, with some for the clients of its configuration socket."""

new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
with contextlib.suppress(ImportError):
    import uvloop

    new_event_loop = uvloop.new_event_loop


def serve(options: Options, ready: Callable[[], None], system: System) -> None:
    """Runs the daemon on `system` to its end; `ready()` is called when interface and socket answer.

    Raises DeviceError that says what can't be had, and what to do about it.
    """
    _try_aead(options)
    _try_user(options, system)
    _try_binding(options, system)
    no_dumps = _no_dumps()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with contextlib.ExitStack() as stack:
        if options.tun_fd is None:
            interface = system.open_tun(options.interface, offload=options.tun_offload)
        else:
            interface = system.take_tun(options.tun_fd, offload=options.tun_offload)
        stack.callback(interface.close)
        sockets = InterfaceSockets(
            interface.name, fd=options.uapi_fd, owner=options.socket_owner, monitor_owner=options.monitor_owner
        )
        stack.callback(sockets.close)
        system_log = _system_log(options, interface.name)
        output = open_log_file(options.log_file) if options.log_file else _standard_error(system_log, options)
        log = Log(interface.name, options.log_level, form=options.log_form, output=output)
        stack.callback(log.close)
        for remark in options.remarks:
            log.error(remark)
        if no_dumps:
            log.error(no_dumps)
        if options.binding:
            log.info(f"UDP sockets: on {options.binding} alone")

        def is_ready() -> None:
            ready()
            if system_log is not None and not options.keep_output and not options.foreground:
                log.redirect(system_log)

        sandbox = system.sandbox(
            log,
            enabled=options.sandbox,
            devices=bool(options.binding.device),
            user=options.user,
            net_admin=not options.drop_net_admin,
        )
        sandbox.begin()
        sockets.leave_to(sandbox.remover(sockets.files))
        reserve_fill()
        with needing("random numbers (getrandom)"):
            os.getrandom(1)  # the sandbox leaves no other source
        with needing("an event loop"):
            _try_epoll()
            loop = _new_loop()
        stack.callback(_close_loop, loop)
        # One run, unlike in asyncio.Runner: uvloop makes a socket pair for each run, which the sandbox then forbids.
        needed = [] if options.foreground or options.log_file else [system_log_folder()]
        running = _Service(options, system, interface, sockets, log=log, sandbox=sandbox, needed=needed).run(is_ready)
        stack.callback(running.close)
        loop.run_until_complete(running)


def _system_log(options: Options, interface: str) -> Output | None:
    """Where the log goes once a daemon in the background is ready: the journal, or /dev/log. None: where it began."""
    if options.log_file or (options.foreground and not is_stream(options.journal_stream)):
        return None
    return Journal(interface, StandardError() if options.foreground else SystemLog())


def _standard_error(system_log: Output | None, options: Options) -> Output:
    return system_log if system_log is not None and options.foreground else StandardError(system_log)


def _new_loop() -> asyncio.AbstractEventLoop:
    logger = logging.getLogger("asyncio")
    logger.disabled = True  # uvloop takes a loop that it could not make for one that was not closed, and says so
    try:
        return new_event_loop()
    finally:
        logger.disabled = False


def _close_loop(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(RuntimeError):  # a loop that failed to start still takes itself for running
        loop.close()


def _no_dumps() -> str:
    """Keeps keys out of core files, and from other processes of this user. Returns a line for the log when it can't."""
    try:
        forbid_dumps()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        why = (isinstance(error, OSError) and error.strerror) or error
        return f"core files and traces of this process, with keys in them, can't be forbidden: {why}"
    return ""


def _try_epoll() -> None:
    """Tries the calls for whose failure libuv, below uvloop, ends the process. Raises OSError."""
    near, far = socket.socketpair()
    with near, far, select.epoll() as poll:
        poll.register(near, select.EPOLLIN)
        poll.poll(0)
        opened = [os.eventfd(0), *os.pipe()]
        try:
            opened += [os.dup(near.fileno()) for _ in range(DESCRIPTORS)]
        finally:
            for fd in opened:
                os.close(fd)


def _try_aead(options: Options) -> None:
    """Finds a backend that can't be had now, and not when the interface is there. Raises ConfigError."""
    if options.aead != "auto":
        try:
            choose_aead(options.aead)
        except ValueError as error:
            raise ConfigError(f"PYWG_AEAD: {error}") from error


def _try_user(options: Options, system: System) -> None:
    """Raises DeviceError where this process has no right to become the user that it is to be."""
    if options.user is not None and not system.may_become(options.user):
        raise DeviceError(
            errno.EPERM,
            f"only root may become user {options.user.name}: run as root, or with CAP_SETUID and CAP_SETGID",
        )


def _try_binding(options: Options, system: System) -> None:
    """Finds an address or device that isn't there now, and not when the interface is set up. Raises BindError."""
    if options.binding:
        system.open_sockets(0, 0, binding=options.binding).close()


class _Service:
    """The parts of one daemon while it runs."""

    def __init__(
        self,
        options: Options,
        system: System,
        interface: Tun,
        sockets: InterfaceSockets,
        *,
        log: Log,
        sandbox: Sandbox,
        needed: list[str],
    ) -> None:
        """`needed`: folders in which something is looked for once the daemon serves, besides the sockets' own."""
        self._options = options
        self._system = system
        self._interface = interface
        self._sockets = sockets
        self._needed = needed
        self._log = log
        self._notifier = Notifier(options.notify_socket)
        self._sandbox = sandbox
        self._said_small = False
        self._stopped = asyncio.Event()
        self._began = clock.now()

    async def run(self, ready: Callable[[], None]) -> None:
        """Runs until `_stop`, then closes all that it opened, in reverse order."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unexpected)
        self._log.follow(loop.call_later)
        with needing("a handler of signals"):
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop, f"{number.name} received")
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._log.follow, None)
            stack.callback(self._notifier.close)
            poller = Poller(loop)
            stack.callback(poller.close)

            def follow(watcher: Watcher) -> None:
                stack.callback(watcher.close)
                watcher.start(poller)

            def changed(state: LinkState) -> None:
                self._link_changed(device, unreachables, state)

            # Hearing of other namespaces takes a privilege that is dropped next. The first state comes a turn later.
            follow(self._system.link_watcher(self._interface.fd, changed, self._interface_gone, self._log))
            unreachables = self._system.unreachables(self._log)
            stack.callback(unreachables.close)
            self._watch_socket(poller, stack)
            self._import_late()
            self._drop_privileges()
            with needing("the data plane"):
                device = self._start_device(poller, stack)
            follow(self._sandbox.watcher())
            follow(self._system.route_watcher(device, self._log, device=self._options.binding.device))
            for server in self._sockets.servers(device, self._log, self._more_stats):
                server.start()
                stack.push_async_callback(server.close)
            self._log.info("ready")
            ready()
            self._tell_manager(device, loop)
            loop.call_soon(self._close_sandbox)
            await self._stopped.wait()

    def _more_stats(self) -> dict[str, int | str]:
        return {
            "version": __version__,
            "uptime_seconds": int(clock.now() - self._began),
            "aead_asked": self._options.aead,
            "aead_available": ",".join(available_aeads()),
            **self._sandbox.stats(),
            **self._options.binding.stats(),
        }

    def _start_device(self, loop: Loop, stack: contextlib.AsyncExitStack) -> Device:
        options = self._options
        with self._sandbox.for_threads() as confinement:
            plane = Plane(
                aead=options.aead,
                udp_gso=options.udp_gso,
                udp_gso_equal_tail=may_segment_equal(options, self._system, self._log),
                coalesce=options.tun_offload,
                helpers=options.threads - READING_THREADS,
                staged_bytes=options.staged_bytes,
                ruleset=confinement.ruleset,
                filters=confinement.filters,
            )
        stack.callback(plane.close)
        self._sandbox.threads_started(confined=plane.confined, filtered=plane.filtered)
        if plane.aead == NO_CIPHER:
            self._log.error(
                "THIS BUILD DOES NOT ENCRYPT: it is for benchmarks, and any packet that it sends can be read"
            )
        self._log.info(f"{plane.threads} threads move packets")
        self._log.debug(f"data plane: {_memory_line(plane.memory())}")
        timer = BootTimer(loop, self._log)
        stack.callback(timer.close)
        refusals = self._system.refusals(loop.call_later, binding=options.binding)
        stack.callback(refusals.close)
        device = Device(
            plane,
            log=self._log,
            call_later=loop.call_later,
            boot_later=timer.call_later,
            tun_gone=self._interface_gone,
            refusals=refusals,
            open_sockets=self._open_sockets,
        )
        stack.callback(device.close)
        interface = self._interface
        plane.attach_tun(interface.fd, vnet_hdr_len=interface.vnet_hdr_len, uso=interface.uso)
        stack.callback(plane.detach_tun)
        reader = Reader(loop, plane.event_fd, device.on_plane_ready, what="data plane", log=self._log)
        reader.start()
        stack.callback(reader.close)
        return device

    def _open_sockets(self, port: int, fwmark: int) -> Sockets:
        options = self._options
        sockets = self._system.open_sockets(port, fwmark, udp_gro=options.udp_gro, binding=options.binding)
        have = sockets.receive_buffer
        if have < SOCKET_BUFFER_LEN and not self._said_small:
            self._said_small = True
            self._log.warning(
                f"UDP sockets receive into {have >> 10} KiB, and not {SOCKET_BUFFER_LEN >> 10}, so bursts may be lost: "
                "without CAP_NET_ADMIN, net.core.rmem_max and wmem_max limit them"
            )
        return sockets

    def _link_changed(self, device: Device, unreachables: Unreachables, state: LinkState) -> None:
        device.set_mtu(state.mtu)
        device.answer_through(*((unreachables.fd4, unreachables.fd6) if state.here else (-1, -1)))
        if state.up:
            device.up()
        else:
            device.down()
        self._notifier.status(f"{self._interface.name} is {'up' if state.up else 'down'}, MTU {state.mtu}")

    def _tell_manager(self, device: Device, loop: asyncio.AbstractEventLoop) -> None:
        """Tells the service manager that the daemon is ready, then that it is alive while the plane's threads are."""
        if not self._notifier.connected:
            return
        if self._options.store_tun:
            self._notifier.keep(self._interface.fd, STORED_TUN)
        self._notifier.ready()
        if self._options.watchdog is None:
            return
        pulse = Pulse()

        def alive() -> bool:
            if pulse.beats(device.heartbeats()):
                return True
            self._log.limited("watchdog", "a thread of the data plane hangs or has ended: no sign of life", Level.ERROR)
            return False

        keep_watchdog(self._notifier, self._options.watchdog, alive, loop.call_later)

    def _import_late(self) -> None:
        """Does what imports a module on first use: soon there may be no file to import, or no right to read it."""
        try:
            public_key_of(private_key_from(Secret(length=32)))
        except Exception as error:  # an import raises any: a file that could not be seen is missed in odd places
            raise failed("a part of pywg", error) from error

    def _drop_privileges(self) -> None:
        folder = self._sandbox.enter_root(Folders(self._sockets.configuration.directory, self._needed))
        if folder is not None:
            self._sockets.folder_is(folder)
        self._sandbox.drop_privileges()

    def _close_sandbox(self) -> None:
        self._sandbox.close(self._sockets.removed_in)

    def _watch_socket(self, loop: Loop, stack: contextlib.AsyncExitStack) -> None:
        fd = self._sockets.configuration.watch()
        if fd is None:
            return

        def look() -> None:
            try:
                with contextlib.suppress(BlockingIOError):
                    os.read(fd, 4096)
            finally:
                if not self._sockets.configuration.present():
                    self._stop("the configuration socket was removed")

        stack.callback(os.close, fd)
        reader = Reader(loop, fd, look, what="the configuration socket's file", log=self._log)
        reader.start()
        stack.callback(reader.close)
        look()

    def _unexpected(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A fault of ours in a callback of the event loop. The tunnel goes on; the line says where to look."""
        error = context.get("exception")
        text = str(context["message"])
        if isinstance(error, MemoryError):
            text = "out of memory"
        elif error is not None:
            places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
            text = f"{type(error).__name__}: {error} ({', '.join(places[-1:])})"
        self._log.limited("internal error", f"internal error: {text}", Level.ERROR)

    def _interface_gone(self) -> None:
        self._stop("the interface was deleted")

    def _stop(self, why: str) -> None:
        if not self._stopped.is_set():
            self._log.info(f"{why}: shutting down")
            self._notifier.stopping()
            self._stopped.set()


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
