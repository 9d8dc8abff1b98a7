"""The keeper of a companion: has the daemon's socket, runs hooks, and starts the worker anew when it ends.

It hears nothing from the network. What the worker asks is checked here: an endpoint is set of a peer that the file
gives several, and of no other.
"""

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator

from pywg.config.addresses import format_sock_addr
from pywg.config.model import DeviceChange, PeerChange, SockAddr
from pywg.errors import DeviceError, PywgError
from pywg.manage import client
from pywg.manage.companion import confined
from pywg.manage.companion.apart import apart
from pywg.manage.companion.channel import BadQuestionError, KeeperEnd
from pywg.manage.companion.hooks import Hooks
from pywg.manage.companion.settings import Settings
from pywg.manage.companion.worker import Worker
from pywg.runtime.base.accounts import Account
from pywg.runtime.base.in_use import SOCKET, folder_of
from pywg.runtime.base.log import Level, Log, key_name
from pywg.runtime.confine import capabilities

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_LIVED_S = 60.0
"""Seconds after which a worker that ends is no sign of a fault that comes again at once."""
_CAP_DAC_OVERRIDE, _CAP_KILL, _CAP_SETGID, _CAP_SETUID = 1, 5, 6, 7


class _EndedError(Exception):
    """A signal asks this process to end."""


class Keeper:
    """One interface's. `account`: whom the worker becomes; None where this process is not root."""

    def __init__(
        self, interface: str, settings: Settings, log: Log, *, account: Account | None, hook_account: Account | None
    ) -> None:
        self._interface = interface
        self._settings = settings
        self._log = log
        self._account = account
        self._movable = {peer.public_key for peer in settings.peers}
        self._hooks = Hooks(interface, settings.hooks, account=hook_account, say=log.error)
        self._as_root = bool(settings.hooks) and hook_account is None

    def confine(self) -> None:
        """Gives up, for this process and its children, what none of them needs."""
        if not self._as_root:
            capabilities.keep_only(self._needed())

    def run(self, ready: Callable[[], None]) -> None:
        """Until SIGTERM or SIGINT. `ready` is called when the worker runs."""
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, _end)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            pause = _FIRST_PAUSE_S
            while True:
                began = time.monotonic()
                with self._worker() as channel:
                    ready()
                    self._serve(channel)
                pause = _FIRST_PAUSE_S if time.monotonic() - began > _LIVED_S else min(2 * pause, _LONGEST_PAUSE_S)
                self._log.error(f"the companion's worker has ended; another starts in {pause:.1f} s")
                self._rest(pause)
        except _EndedError:
            pass
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
            self._hooks.close()

    def _needed(self) -> int:
        """Capabilities: for the worker's and the hooks' user and their end, and for a socket that is another user's."""
        needed = 1 << _CAP_KILL | 1 << _CAP_SETUID | 1 << _CAP_SETGID
        with contextlib.suppress(OSError):
            if os.stat(f"{folder_of(self._interface)}/{self._interface}.{SOCKET}").st_uid != os.geteuid():
                needed |= 1 << _CAP_DAC_OVERRIDE
        return needed

    @contextlib.contextmanager
    def _worker(self) -> Iterator[KeeperEnd]:
        """A worker, which is killed in the end."""
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        keeper = os.getpid()
        pid = os.fork()
        if pid == 0:
            near.close()
            self._work(far, keeper)
        far.close()
        try:
            with near:
                yield KeeperEnd(near)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _work(self, channel: socket.socket, keeper: int) -> None:
        """The worker's process, to its end."""
        status = 1
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            for missing in confined.confine(self._account, keeper):
                self._log.info(f"the companion's worker is without {missing}")
            Worker(self._settings, channel, self._log.error).run()
        except EOFError:
            status = 0
        except BaseException as error:  # noqa: BLE001 - the keeper's stack is below this
            with contextlib.suppress(Exception):
                self._log.error(f"the companion's worker: {type(error).__name__}: {error}")
        finally:
            os._exit(status)

    def _serve(self, channel: KeeperEnd) -> None:
        """Returns when the worker is to be replaced."""
        poll = select.poll()
        poll.register(channel.sock, select.POLLIN)
        while True:
            wait = self._hooks.work()
            if not poll.poll(None if wait is None else wait * 1000):
                continue
            try:
                if not self._answer(channel):
                    return
            except BadQuestionError:
                self._log.error("the companion's worker asks for what it may not have, and is ended")
                return
            except OSError:
                return

    def _answer(self, channel: KeeperEnd) -> bool:
        """Answers one question. False when the worker is gone."""
        question = channel.question()
        if question is None:
            return False
        match question["do"]:
            case "stream":
                stream = self._stream()
                channel.give(stream)
                if stream is not None:
                    stream.close()
            case "endpoints":
                channel.answer(self._endpoints())
            case "hook":
                event = question["event"]
                with contextlib.suppress(ValueError):
                    key = bytes.fromhex(event.facts.get("public_key", ""))
                    self._hooks.on(event, self._settings.names.get(key))
                channel.answer(True)
            case "probe":
                channel.answer(self._probe(question["peer"], question["endpoint"]))
            case _:
                channel.answer(self._move(question["peer"], question["endpoint"]))
        return True

    def _stream(self) -> socket.socket | None:
        """A connection that is a stream of events and can never be anything else: the worker sees no key over it."""
        with contextlib.suppress(OSError, DeviceError):
            sock, _ = client.connect_to_see(self._interface, None)
            try:
                sock.settimeout(5.0)
                sock.sendall(b"events=1\n\n")
            except OSError:
                sock.close()
                raise
            return sock
        return None

    def _endpoints(self) -> dict[str, str] | None:
        """Where peers are. What the daemon tells has its keys, which a later worker's memory must not have."""

        def ask() -> dict[str, str]:
            return {
                peer.public_key.hex(): format_sock_addr(peer.endpoint)
                for peer in client.watch(self._interface)[0].peers
                if peer.endpoint is not None and peer.public_key in self._movable
            }

        found: dict[str, str] | None = None
        with contextlib.suppress(PywgError):
            found = apart(ask)
        return found

    def _move(self, key: bytes, endpoint: SockAddr) -> bool:
        if key not in self._movable:
            raise BadQuestionError
        name = self._settings.names.get(key) or key_name(key)
        try:
            client.change(self._interface, DeviceChange(peers=[PeerChange(key, update_only=True, endpoint=endpoint)]))
        except DeviceError as error:
            self._log.limited("move", f"{name}: {error.strerror or error}", Level.ERROR)
            return False
        self._log.limited("move", f"{name}: endpoint is {format_sock_addr(endpoint)} from now on", Level.INFO)
        return True

    def _probe(self, key: bytes, endpoint: SockAddr) -> bool:
        if key not in self._movable:
            raise BadQuestionError
        try:
            change = DeviceChange(peers=[PeerChange(key, update_only=True, probe_endpoint=endpoint)])
            client.change(self._interface, change)
        except DeviceError as error:
            self._log.limited("move", f"{key_name(key)}: it can't be tried: {error.strerror or error}", Level.ERROR)
            return False
        return True

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            wait = self._hooks.work()
            time.sleep(left if wait is None else min(left, wait))


def _end(number: int, _: object) -> None:
    raise _EndedError(number)
