"""An interface that is served inside another program, by a thread of its own with an event loop of its own.

What is the process' stays the program's: its signals, limits, privileges, allocator, and its other threads. The control
plane's thread has a umask and no_new_privs of its own; the data plane's, which parse what strangers send, start under
Landlock and filters as those of a daemon do. All share one memory with the program, so that this is a hurdle, and no
wall as a daemon's process is.

A child of fork() has no such thread. The descriptors that it inherits become /dev/null there, so that it keeps neither
the interface nor the port.
"""

import asyncio
import contextlib
import errno
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

from pywg import __version__
from pywg._fastpath import available_aeads
from pywg.errors import DeviceError, PywgError
from pywg.runtime.base import clock
from pywg.runtime.base.failures import needing
from pywg.runtime.base.libc import unshare
from pywg.runtime.base.log_output import Output
from pywg.runtime.base.poller import Poller
from pywg.runtime.base.system import Sandbox, System
from pywg.runtime.daemon.interface import Interface
from pywg.runtime.daemon.notify import Notifier
from pywg.runtime.daemon.options import Options
from pywg.runtime.daemon.service import new_event_loop

_CLONE_FS = 0x200
_GUESTS: "weakref.WeakSet[Guest]" = weakref.WeakSet()


class Guest:
    """Serves one interface from `start` to `stop`, which belong to one thread. Lines of its log go to `output`."""

    def __init__(self, options: Options, system: System, *, output: Output) -> None:
        self._options = options
        self._system = system
        self._output = output
        self._pid = os.getpid()
        self._settled = threading.Event()
        self._error: BaseException | None = None
        self._stop: Callable[[], None] = lambda: None
        self._interface: Interface | None = None
        self._thread = threading.Thread(target=self._serve, name=options.interface, daemon=True)

    @property
    def running(self) -> bool:
        """Whether it serves, in this process."""
        return self._pid == os.getpid() and self._thread.is_alive()

    def start(self) -> None:
        """Returns when the interface and its sockets answer. Raises PywgError that says what can't be had."""
        _GUESTS.add(self)
        self._thread.start()
        self._settled.wait()
        if self._error is None:
            return
        self._thread.join()
        if isinstance(self._error, PywgError):
            raise self._error
        code = (isinstance(self._error, OSError) and self._error.errno) or errno.EIO
        raise DeviceError(code, f"{self._options.interface} can't be served: {self._error}") from self._error

    def stop(self) -> None:
        """Removes the interface, and returns when nothing of it is left. Idempotent."""
        if self.running:
            self._stop()
            self._thread.join()

    def leave_to_parent(self) -> None:
        """In a child of fork(): gives up what it has inherited."""
        if self._interface is None:
            return
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for fd in self._interface.descriptors():
            with contextlib.suppress(OSError):
                os.dup2(null, fd, inheritable=False)  # and not closed: objects that have its number may close it yet
        os.close(null)

    # In the thread

    def _serve(self) -> None:
        try:
            _be_apart(self._options.interface)
            with contextlib.ExitStack() as stack:
                self._interface = interface = Interface(self._options, self._system, output=self._output)
                stack.callback(interface.close)
                sandbox = self._system.sandbox(
                    interface.log,
                    enabled=self._options.sandbox,
                    devices=bool(self._options.binding.device),
                    user=None,
                    net_admin=True,
                    guest=True,
                    groups=interface.shards > 1,
                )
                sandbox.begin()
                with needing("an event loop"):
                    loop = new_event_loop()
                stack.callback(loop.close)
                loop.run_until_complete(self._run(loop, interface, sandbox))
        except BaseException as error:  # noqa: BLE001 - of the start it is the caller's; later nobody waits for it
            self._error = error
        finally:
            self._interface = None
            self._settled.set()

    async def _run(self, loop: asyncio.AbstractEventLoop, interface: Interface, sandbox: Sandbox) -> None:
        log, began = interface.log, clock.now()

        def unexpected(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            log.limited("internal error", f"internal error: {context.get('exception') or context['message']!r}")

        def more_stats() -> dict[str, int | str]:
            return {
                "version": __version__,
                "uptime_seconds": int(clock.now() - began),
                "aead_asked": self._options.aead,
                "aead_available": ",".join(available_aeads()),
                **sandbox.stats(),
                **self._options.binding.stats(),
            }

        loop.set_exception_handler(unexpected)
        async with contextlib.AsyncExitStack() as stack:
            poller = Poller(loop)
            stack.callback(poller.close)
            stack.push_async_callback(interface.end)
            interface.follow_link(loop, poller, Notifier(None))
            with needing("the data plane"):
                plane = interface.start_device(sandbox)
            sandbox.threads_started(confined=plane.confined, filtered=plane.filtered)
            interface.answer(more_stats)
            self._stop = lambda: _call(loop, interface)
            self._settled.set()
            await interface.stopped.wait()


def _call(loop: asyncio.AbstractEventLoop, interface: Interface) -> None:
    with contextlib.suppress(RuntimeError):  # it has just ended by itself
        loop.call_soon_threadsafe(interface.stop, "its program ends it")


def _be_apart(interface: str) -> None:
    """Gives the calling thread a umask of its own, and the name by which commands know that a program serves this."""
    with contextlib.suppress(OSError):
        unshare(_CLONE_FS)
    with contextlib.suppress(OSError), open("/proc/thread-self/comm", "wb") as name:
        name.write(os.fsencode(interface))


def _after_fork() -> None:
    for guest in list(_GUESTS):
        guest.leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)
