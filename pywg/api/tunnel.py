"""The tunnel of a program: set up on entering it, and undone on leaving it."""

import contextlib
import functools
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TypeVar

from pywg.api.events import Events, until_hung_up
from pywg.api.given import Address, Config, Endpoint, Key, endpoint_of, file_of, key_of, prefixes_of, wiped
from pywg.api.owner import Attached, Owned, PeerWish, Ways
from pywg.api.rotation import AskKey, rotate
from pywg.api.worker import Worker
from pywg.config.addresses import parse_number
from pywg.config.keys import clamp
from pywg.config.model import DeviceChange, PeerStatus
from pywg.config.uapi import MAX_KEEPALIVE
from pywg.dataplane.crypto.secret import Secret, wipe
from pywg.errors import DeviceError, PywgError, TunnelClosedError, TunnelGoneError
from pywg.manage import client
from pywg.manage.sight import Sight, glance, look
from pywg.manage.tunnel import names
from pywg.manage.tunnel.interrupt import Interrupts
from pywg.runtime.base.in_use import daemon_of

_Result = TypeVar("_Result")


class Tunnel:
    """`async with Tunnel(config) as tunnel:` has the interface up, with its addresses and routes, while the body runs.

    Leaving the body takes it down, however it is left: what was done is undone, as `pywg down` does. An error while it
    is set up, or a cancellation, leaves nothing. Methods are for the event loop's thread, and for the process, that has
    entered it. Two tasks may call them at a time; what changes something is done in the order in which it was asked.
    """

    def __init__(
        self,
        config: Config,
        *,
        name: str = "",
        daemon: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """`config`: a file of wg-quick, as its path or as text, or the data class of one; what is no file needs the
        interface's `name`. `daemon`: a process of its own serves it, with all of its sandbox, and not a thread of this
        one. `variables`: options, by their names in the environment, such as PYWG_THREADS.

        Raises ConfigError, WgQuickError that says where, and DeviceError for a file that can't be read.
        """
        file = file_of(config, name)
        owned = Owned(file, daemon=daemon, variables=variables or {})
        self._begin(owned, "served by a daemon" if daemon else "served by this process")

    @classmethod
    def attach(cls, interface: str) -> "Tunnel":
        """The tunnel of a daemon that runs, by the interface's name. Leaving it leaves it as it is; keys and peers can
        be changed, and addresses and routes are its owner's."""
        tunnel = cls.__new__(cls)
        tunnel._begin(Attached(names.find(interface).interface), "another program's")
        return tunnel

    def _begin(self, ways: Ways, how: str) -> None:
        self._ways: Ways = ways
        self._how = how
        self._pid = os.getpid()
        self._entered = False
        self._worker: Worker | None = None
        self._events: list[Events] = []

    def __repr__(self) -> str:
        return f"<pywg.Tunnel {self.name}, {self._how}{'' if self._worker else ', closed'}>"

    @property
    def name(self) -> str:
        """The interface's."""
        return self._ways.interface

    async def __aenter__(self) -> "Tunnel":
        """Raises StepError for a step that fails, and says which; nothing is left then."""
        if self._entered:
            raise TunnelClosedError(f"{self.name} has been entered before: make another Tunnel of it")
        self._entered = True  # and once alone: the keys of its configuration are the daemon's from then on
        self._pid = os.getpid()
        self._worker = worker = Worker()
        try:
            await self._done(worker, self._ways.open)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raises StepError for what could not be undone; a note to what the body raised, if it has."""
        if os.getpid() != self._pid:
            return
        try:
            await self._close()
        except PywgError as failed:
            if error is None:
                raise
            error.add_note(str(failed))

    async def _close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        try:
            for events in self._events:
                await events.aclose()
        finally:
            self._events.clear()
            try:
                await worker.do(self._closed)
            finally:
                worker.close()

    def _closed(self) -> None:
        self._ways.interrupts = Interrupts()  # which nothing stops
        self._ways.close()

    # What it does

    async def status(self) -> Sight:
        """All that can be seen of it, without its keys: state, statistics, peers. Raises DeviceError."""
        return await self._ask(functools.partial(look, self.name))

    async def statistics(self) -> dict[str, int | str]:
        """Counters, offloads and memory by their names in `pywg stats`. Raises DeviceError when it is not pywg."""
        found = await self._ask(functools.partial(client.stats, self.name))
        return {name: int(value) if value.removeprefix("-").isdecimal() else value for name, value in found.items()}

    def events(self) -> Events:
        """What happens from now on: `async with tunnel.events() as events: async for event in events:`."""
        self._open()
        self._events[:] = [one for one in self._events if not one.closed]
        self._events.append(Events(self.name, self._connected))
        return self._events[-1]

    async def ended(self) -> None:
        """Returns when what serves the tunnel does so no more, without this program having closed it."""
        with contextlib.suppress(DeviceError):
            while True:
                await until_hung_up(await self._connected())

    # What changes it

    async def set_peer(
        self,
        public_key: Key,
        *,
        endpoint: Endpoint | None = None,
        allowed_ips: Iterable[Address] | None = None,
        persistent_keepalive: int | None = None,
        preshared_key: Key | None = None,
    ) -> None:
        """Adds a peer, or changes one: what isn't given stays. Routes follow `allowed_ips`, which replaces those that
        there are, in a tunnel of this program's own. Seconds of `persistent_keepalive`, 0 for off. A session stays.

        A name is asked for, while no name server answers, for two minutes (WG_ENDPOINT_RESOLUTION_RETRIES). A task that
        is cancelled, or whose time is up, has changed nothing.

        Raises ConfigError for what can't be, DeviceError or StepError for what is refused: nothing is changed then.
        """
        if persistent_keepalive is not None:
            parse_number(str(persistent_keepalive), MAX_KEEPALIVE)
        wish = PeerWish(
            key_of(public_key, "public_key"),
            key_of(preshared_key, "preshared_key") if preshared_key is not None else None,
            endpoint_of(endpoint) if endpoint is not None else None,
            prefixes_of(allowed_ips, "allowed_ips") if allowed_ips is not None else None,
            persistent_keepalive,
        )
        wiped(preshared_key)
        try:
            await self._do(functools.partial(self._ways.set_peer, wish))
        finally:
            if wish.preshared_key is not None:
                wipe(wish.preshared_key)  # a copy of the caller's

    async def remove_peer(self, public_key: Key) -> None:
        """Removes a peer, and its routes; one that isn't there is no error. Raises as `set_peer`."""
        await self._do(functools.partial(self._ways.remove_peer, key_of(public_key, "public_key")))

    async def apply(self, config: Config) -> list[str]:
        """Makes a tunnel of this program's own what another configuration says, as `pywg reload`: peers that it does
        not have go, and preshared keys that the last one had, sessions of those that stay go on. Returns what has
        changed, in lines. Raises as `set_peer`."""
        file = file_of(config, "" if isinstance(config, str) and "\n" not in config else self.name)
        return await self._do(functools.partial(self._ways.apply, file))

    async def set_private_key(self, key: Key) -> None:
        """Sets another private key: every session begins anew, and peers have to know its public key."""
        secret = Secret.take(key_of(key, "private_key"))
        wiped(key)
        with memoryview(secret) as view:
            clamp(view)
        await self._do(functools.partial(client.change, self.name, DeviceChange(private_key=secret)))

    async def set_preshared_key(self, public_key: Key, key: Key) -> None:
        """Sets a peer's preshared key, `ZERO_KEY` for none. The session goes on: the next handshake, within two
        minutes, needs the same key at the other end. A peer that isn't there is no error."""
        peer = key_of(public_key, "public_key")
        secret = Secret.take(key_of(key, "preshared_key"))
        wiped(key)
        await self._do(functools.partial(self._ways.set_preshared_key, peer, secret))

    async def rotate_preshared_keys(self, ask: AskKey, *, every: float = 120.0) -> None:
        """Asks for the next preshared key of each peer, at once and each `every` seconds, and sets it: a task for as
        long as that is wanted, which never ends by itself. Raises what `ask` raises."""
        await rotate(ask, every, self._peers, self.set_preshared_key)

    # Of these

    def _open(self) -> Worker:
        if os.getpid() != self._pid:
            raise TunnelClosedError(f"{self.name} is its parent process': a child of fork() can't use it")
        if self._worker is None:
            raise TunnelClosedError(f"{self.name} is not open: use it inside `async with`")
        return self._worker

    async def _ask(self, call: Callable[[], _Result]) -> _Result:
        return await self._open().ask(functools.partial(_telling, self.name, call))

    async def _do(self, call: Callable[[], _Result]) -> _Result:
        return await self._done(self._open(), functools.partial(_telling, self.name, call))

    async def _done(self, worker: Worker, call: Callable[[], _Result]) -> _Result:
        """A change by the worker, which a task that is cancelled stops: its own, and none that goes on before it."""
        interrupts = Interrupts()

        def begun() -> _Result:
            self._ways.interrupts = interrupts
            return call()

        return await worker.do(begun, interrupts.stop)

    async def _connected(self) -> socket.socket:
        sock, _ = await self._ask(functools.partial(client.connect_to_see, self.name, None))
        return sock

    async def _peers(self) -> list[PeerStatus]:
        return (await self._ask(functools.partial(glance, self.name))).status.peers


def _telling(interface: str, call: Callable[[], _Result]) -> _Result:
    """What a call returns. What fails because no daemon is there is a TunnelGoneError."""
    try:
        return call()
    except DeviceError as error:
        if isinstance(error, TunnelGoneError) or error.errno in client.DENIED or daemon_of(interface) is not None:
            raise
        raise TunnelGoneError.of(interface) from error
