"""The daemon from its start to its end: what it opens, in which order, and what ends it.

It serves one interface, or several. It ends well on SIGTERM and on SIGINT, and when its last interface has ended: each
does when it is deleted and when its configuration socket is removed. Interface and socket then go with it. It counts
and survives every other failure of the network.
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
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pywg import __version__
from pywg._fastpath import available_aeads, choose_aead, reserve_fill
from pywg.core.crypto import private_key_from, public_key_of, seal
from pywg.dataplane.crypto.secret import Secret
from pywg.errors import ConfigError, DeviceError
from pywg.runtime.base import clock
from pywg.runtime.base.failures import failed, needing
from pywg.runtime.base.libc import forbid_dumps, give_back_zeros
from pywg.runtime.base.loading import uncollected_meanwhile
from pywg.runtime.base.log import Level, Log
from pywg.runtime.base.log_output import system_log_folder
from pywg.runtime.base.poller import Poller
from pywg.runtime.base.system import Folders, Sandbox, System
from pywg.runtime.daemon.handover import Handover
from pywg.runtime.daemon.interface import Interface, open_log, redirect, system_log_of
from pywg.runtime.daemon.notify import Notifier, Pulse, keep_watchdog
from pywg.runtime.daemon.options import Options

if TYPE_CHECKING:
    from pywg.runtime.daemon.take_over import Taking

DESCRIPTORS = 32
"""Descriptors that a daemon needs at least, with some for the clients of its configuration socket."""
DESCRIPTORS_OF_SHARD = 8
"""Those of each further shard, but for its queue: sockets, twice while it rebinds, and what wakes its threads."""
PROCESS = "pywg"
"""How a daemon of several interfaces calls itself in its log."""

new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
with contextlib.suppress(ImportError):
    import uvloop

    new_event_loop = uvloop.new_event_loop


def serve(
    several: Sequence[Options], ready: Callable[[], None], system: System, taking: "Taking | None" = None
) -> None:
    """Runs the daemon of these interfaces on `system` to its end; `ready()` is called when all of them answer.

    But for what belongs to one interface, the options of all are the same. Raises DeviceError that says what can't be
    had, and what to do about it: then none is served. `taking`: the daemon that this one takes over from.
    """
    options = several[0]
    _try_aead(options)
    _try_user(options, system)
    _try_binding(options, system)
    no_dumps = _no_dumps()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with contextlib.ExitStack() as stack:
        interfaces: list[Interface] = []
        taken = [None] * len(several) if taking is None else taking.interfaces
        for one, its in zip(several, taken, strict=True):
            interfaces.append(Interface(one, system, its))
            stack.callback(interfaces[-1].close)
        log = interfaces[0].log
        if len(interfaces) > 1:
            system_log = system_log_of(options, PROCESS)
            log = open_log(options, PROCESS, system_log)
            stack.callback(log.close)
        for remark in options.remarks:
            log.error(remark)
        if no_dumps:
            log.error(no_dumps)
        if options.binding:
            log.info(f"UDP sockets: on {options.binding} alone")

        def is_ready() -> None:
            ready()
            for interface in interfaces:
                interface.log_to_system()
            if len(interfaces) > 1:
                redirect(log, options, system_log)

        sandbox = system.sandbox(
            log,
            enabled=options.sandbox,
            devices=bool(options.binding.device),
            user=options.user,
            net_admin=not options.drop_net_admin,
            groups=any(interface.shards > 1 for interface in interfaces),
        )
        sandbox.begin()
        for interface in interfaces:  # one process each, as each interface may end alone
            interface.sockets.leave_to(sandbox.remover(interface.sockets.files))
        reserve_fill()
        with needing("random numbers (getrandom)"):
            os.getrandom(1)  # the sandbox leaves no other source
        with needing("an event loop"):
            _try_epoll(sum(DESCRIPTORS + DESCRIPTORS_OF_SHARD * (one.shards - 1) for one in interfaces))
            loop = _new_loop()
        stack.callback(_close_loop, loop)
        # One run, unlike in asyncio.Runner: uvloop makes a socket pair for each run, which the sandbox then forbids.
        needed = [] if options.foreground or options.log_file else [system_log_folder()]
        service = _Service(options, interfaces, log=log, sandbox=sandbox, needed=needed, taking=taking)
        running = service.run(is_ready)
        stack.callback(running.close)
        loop.run_until_complete(running)


def _new_loop() -> asyncio.AbstractEventLoop:
    logger = logging.getLogger("asyncio")
    logger.disabled = True  # uvloop takes a loop that it could not make for one that was not closed, and says so
    try:
        loop = new_event_loop()
    finally:
        logger.disabled = False
    give_back_zeros(loop)  # uvloop's has 250 KB for streams, which nothing here uses, and which Python has written to
    return loop


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


def _try_epoll(descriptors: int) -> None:
    """Tries the calls for whose failure libuv, below uvloop, ends the process, with so many descriptors. Raises
    OSError."""
    near, far = socket.socketpair()
    with near, far, select.epoll() as poll:
        poll.register(near, select.EPOLLIN)
        poll.poll(0)
        opened = [os.eventfd(0), *os.pipe()]
        try:
            opened += [os.dup(near.fileno()) for _ in range(descriptors)]
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
    """The process while it runs."""

    def __init__(
        self,
        options: Options,
        interfaces: Sequence[Interface],
        *,
        log: Log,
        sandbox: Sandbox,
        needed: list[str],
        taking: "Taking | None",
    ) -> None:
        """`needed`: folders in which something is looked for once the daemon serves, besides the sockets' own."""
        self._options = options
        self._interfaces = interfaces
        self._needed = needed
        self._log = log
        self._taking = taking
        self._handover = Handover(options, interfaces, log, self._handed_over)
        self._is_handed_over = False
        self._notifier = Notifier(options.notify_socket)
        self._manager = Notifier(dict(options.environment).get("NOTIFY_SOCKET"))
        self._sandbox = sandbox
        self._began = clock.now()

    async def run(self, ready: Callable[[], None]) -> None:
        """Runs until the last interface has ended, then closes all that it opened, in reverse order."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unexpected)
        self._log.follow(loop.call_later)
        with needing("a handler of signals"):
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop, f"{number.name} received")
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._log.follow, None)
            stack.callback(self._notifier.close)
            stack.callback(self._manager.close)
            poller = Poller(loop)
            stack.callback(poller.close)
            await asyncio.sleep(0)  # libuv asks for its descriptors now: where they are refused, all is as it was
            for interface in self._interfaces:
                stack.push_async_callback(interface.end)
                interface.follow_link(loop, poller, self._notifier)
            self._import_late()
            self._drop_privileges()
            with needing("the data plane"):
                planes = [interface.start_device(self._sandbox) for interface in self._interfaces]
            self._sandbox.threads_started(
                confined=all(plane.confined for plane in planes), filtered=all(plane.filtered for plane in planes)
            )
            watcher = self._sandbox.watcher()
            stack.callback(watcher.close)
            watcher.start(poller)
            for interface in self._interfaces:
                interface.answer(self._more_stats, self._handover.give)
            if self._taking is not None:
                with uncollected_meanwhile():
                    self._take_over(self._taking)
            ready()
            self._tell_manager(loop)
            loop.call_soon(self._close_sandbox)
            await asyncio.gather(*map(self._until_end, self._interfaces))

    def _take_over(self, taking: "Taking") -> None:
        """Goes on where the other daemon stops. Raises DeviceError, and then that one serves on, or has ended, as the
        error says."""
        try:
            states = taking.states()
            for interface, (state, udp) in zip(self._interfaces, states, strict=True):
                interface.resume(state, udp)
            taking.finish()
        except OSError as error:
            if isinstance(error, DeviceError):
                raise
            raise failed("the handover", error) from error
        for interface in self._interfaces:
            interface.go_on()
        taking.gone_on()
        self._log.info(f"taken over from PID {taking.pid}: nothing was sent for {taking.waited_s * 1e3:.1f} ms")

    def _handed_over(self, pid: int) -> None:
        """Another process serves all interfaces now: this one has but to wipe and to end."""
        self._is_handed_over = True
        self._manager.main_is(pid)
        for interface in self._interfaces:
            interface.hand_over(pid)

    async def _until_end(self, interface: Interface) -> None:
        """Returns when it has ended, which leaves the others alone."""
        await interface.stopped.wait()
        if self._is_handed_over:
            pass  # to the service manager nothing ends
        elif all(one.stopped.is_set() for one in self._interfaces):
            self._notifier.stopping()
        else:
            interface.take_tun_back()
        if len(self._interfaces) == 1:
            return
        try:
            await interface.end()
        except Exception as error:  # noqa: BLE001 - what one could not close must not end the others
            self._unexpected(None, {"message": f"the end of {interface.name}", "exception": error})
        interface.close()

    def _more_stats(self) -> dict[str, int | str]:
        return {
            "version": __version__,
            "uptime_seconds": int(clock.now() - self._began),
            "aead_asked": self._options.aead,
            "aead_available": ",".join(available_aeads()),
            **self._sandbox.stats(),
            **self._options.binding.stats(),
        }

    def _tell_manager(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tells the service manager that the daemon is ready, then that it is alive while the planes' threads are."""
        if not self._notifier.connected:
            return
        for interface in self._interfaces:
            interface.leave_tun()
        self._notifier.ready()
        if self._options.watchdog is None:
            return
        pulses = [(interface, Pulse()) for interface in self._interfaces]

        def alive() -> bool:
            serving = [(one, pulse) for one, pulse in pulses if not one.stopped.is_set()]
            dead = [one for one, pulse in serving if not pulse.beats(one.device.heartbeats())]
            for one in dead:
                text = "a thread of the data plane hangs or has ended: no sign of life"
                one.log.limited("watchdog", text, Level.ERROR)
            return not dead

        keep_watchdog(self._notifier, self._options.watchdog, alive, loop.call_later)

    def _import_late(self) -> None:
        """Does what imports a module or opens a file on first use: soon there may be none, or no right to read it."""
        try:
            public_key_of(private_key_from(Secret(length=32)))
            seal(bytes(32), b"", b"")
        except Exception as error:  # an import raises any: a file that could not be seen is missed in odd places
            raise failed("a part of pywg", error) from error

    def _drop_privileges(self) -> None:
        sockets = [interface.sockets for interface in self._interfaces]
        folder = self._sandbox.enter_root(Folders(sockets[0].configuration.directory, self._needed))
        if folder is not None:
            for one in sockets:
                one.folder_is(folder)
        self._sandbox.drop_privileges()

    def _close_sandbox(self) -> None:
        self._sandbox.close(self._interfaces[0].sockets.removed_in)

    def _unexpected(self, _loop: asyncio.AbstractEventLoop | None, context: dict[str, Any]) -> None:
        """A fault of ours in a callback of the event loop. The tunnel goes on; the line says where to look."""
        error = context.get("exception")
        text = str(context["message"])
        if isinstance(error, MemoryError):
            text = "out of memory"
        elif error is not None:
            places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
            text = f"{type(error).__name__}: {error} ({', '.join(places[-1:])})"
        self._log.limited("internal error", f"internal error: {text}", Level.ERROR)

    def _stop(self, why: str) -> None:
        for interface in self._interfaces:
            interface.stop(why)
