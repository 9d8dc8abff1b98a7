"""What a tunnel is to its program, in calls that wait: set up by it and taken down again, or another's that it uses.

A change of the program's own tunnel is that of `pywg reload`: peers, addresses and routes, as a whole or not at all. Of
another's tunnel, keys and peers alone are changed: addresses and routes are its owner's.
"""

import contextlib
import copy
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pywg.api.engine import LOGGER, Inside
from pywg.config.model import ZERO_KEY, AllowedIpChange, DeviceChange, DeviceStatus, PeerChange, Prefix
from pywg.config.wg_quick import HostPort, PeerSection, WgQuickConfig
from pywg.dataplane.crypto.secret import Secret
from pywg.errors import ConfigError, DeviceError, TunnelGoneError, WgQuickError
from pywg.manage import client
from pywg.manage.companion.settings import settings_in
from pywg.manage.network import Network
from pywg.manage.tunnel import state as states
from pywg.manage.tunnel.daemon import Daemon
from pywg.manage.tunnel.down import take_down
from pywg.manage.tunnel.interrupt import Interrupts
from pywg.manage.tunnel.machine import Machine
from pywg.manage.tunnel.names import QuickFile, Target
from pywg.manage.tunnel.reload import make_it
from pywg.manage.tunnel.resolve import resolve
from pywg.manage.tunnel.up import require_root, set_up
from pywg.runtime.base.in_use import daemon_here

_END_S = 10.0


@dataclass
class PeerWish:
    """A peer as it is to be; None leaves what it has, or has not."""

    public_key: bytes
    preshared_key: bytes | None = field(default=None, repr=False)
    endpoint: HostPort | None = None
    allowed_ips: list[Prefix] | None = None
    persistent_keepalive: int | None = None


class Ways(Protocol):
    """What differs between a tunnel of one's own and another's."""

    interface: str
    interrupts: Interrupts
    """of the call that goes on, which a task that is cancelled stops"""

    def open(self) -> None:
        """Raises PywgError, and nothing is left."""

    def close(self) -> None:
        """What `open` did is undone. Raises PywgError that says what could not be."""

    def set_peer(self, wish: PeerWish) -> None:
        """Whole or not at all."""

    def remove_peer(self, public_key: bytes) -> None:
        """One that isn't there is no error."""

    def set_preshared_key(self, public_key: bytes, secret: Secret) -> None:
        """A peer that isn't there is no error."""

    def apply(self, file: QuickFile) -> list[str]:
        """Makes it what a configuration says; what has changed, in lines."""


class Owned:
    """A tunnel that this program sets up, by a thread of its own or, as a `daemon`, by a process."""

    def __init__(self, file: QuickFile, *, daemon: bool, variables: Mapping[str, str]) -> None:
        self.interface = file.target.interface
        self.interrupts = Interrupts()
        self._file = file
        self._inside = None if daemon else Inside(variables)
        self._daemon = Daemon(tuple(variables.items())) if daemon else None
        self._index = 0
        self._up = False

    def open(self) -> None:
        require_root("up", self._file.target)
        if not self._file.target.path and settings_in(self._file).wanted:
            raise ConfigError("a companion, which this configuration asks for, needs it in a file")
        with self._machine() as machine:
            set_up(self._file, machine, daemon=self._inside or self._daemon)
            self._up = True
            self._index = machine.index
            _forget_keys(self._file.config)

    def close(self) -> None:
        if not self._up:
            return
        self._up = False
        try:
            with self._machine() as machine:
                if self._is_ours(machine) or self._is_gone(machine):
                    take_down(self._file.target, machine, if_up=True)
                else:
                    LOGGER.warning("%s is another program's by now, and stays", self.interface)
        finally:
            if self._inside is not None:
                self._inside.end()

    def set_peer(self, wish: PeerWish) -> None:
        config = self._running()
        section = next((one for one in config.peers if one.public_key == wish.public_key), None)
        if section is None:
            section = PeerSection(wish.public_key)
            config.peers.append(section)
        section.preshared_key = wish.preshared_key
        if wish.endpoint is not None:
            section.endpoint = wish.endpoint
            self._let_endpoint_go(wish.public_key)
        if wish.allowed_ips is not None:
            config.peers.remove(section)  # of two that have one prefix, the later one keeps it
            config.peers.append(section)
            section.allowed_ips = wish.allowed_ips
        if wish.persistent_keepalive is not None:
            section.persistent_keepalive = wish.persistent_keepalive
        self._make(config)

    def remove_peer(self, public_key: bytes) -> None:
        config = self._running()
        config.peers = [one for one in config.peers if one.public_key != public_key]
        self._make(config)

    def set_preshared_key(self, public_key: bytes, secret: Secret) -> None:
        _set_preshared_key(self.interface, public_key, secret)
        with contextlib.suppress(DeviceError):  # a command has the lock: keys that rotate do not wait for it
            if _is_of_configuration(states.read(self.interface), public_key):
                with states.locked(self.interface):
                    self._preshared_key_is_ours(public_key)

    def apply(self, file: QuickFile) -> list[str]:
        if file.target.interface != self.interface:
            raise ConfigError(f"a configuration of {file.target.interface} is none of {self.interface}")
        return self._make(file.config, file)

    def _running(self) -> WgQuickConfig:
        """The configuration, with the peers that run now: another program may have changed them."""
        config = copy.deepcopy(self._file.config)
        known = {one.public_key: one for one in config.peers}
        config.peers = []
        for peer in _status(self.interface).peers:
            section = known.get(peer.public_key) or PeerSection(peer.public_key)
            section.allowed_ips = list(peer.allowed_ips)
            section.persistent_keepalive = peer.persistent_keepalive
            config.peers.append(section)
        return config

    def _make(self, config: WgQuickConfig, file: QuickFile | None = None) -> list[str]:
        target = self._file.target
        new = QuickFile(target, config, file.settings if file else [], file.text if file else self._file.text)
        if not target.path and settings_in(new).wanted:
            raise ConfigError("a companion, which this configuration asks for, needs it in a file")
        with self._machine() as machine:
            if not self._is_ours(machine):
                raise TunnelGoneError.of(self.interface)
            told = make_it(new, machine, keys_stay=file is None)
            self._file = new
            if file is None:
                for section in config.peers:
                    if section.preshared_key is not None:
                        self._preshared_key_is_ours(section.public_key)
            _forget_keys(config)
        return told[:-1]

    def _let_endpoint_go(self, public_key: bytes) -> None:
        """It is to be set, also where the peer has moved since it was set last."""
        state = states.read(self.interface)
        if state is not None and public_key in state.peers:
            state.peers[public_key].address = ""
            states.rewrite(state)

    def _preshared_key_is_ours(self, public_key: bytes) -> None:
        """The program's, and none of the configuration's, which another configuration without it would clear."""
        state = states.read(self.interface)
        if state is not None and _is_of_configuration(state, public_key):
            state.peers[public_key].preshared_key = False
            states.rewrite(state)

    def _is_ours(self, machine: Machine) -> bool:
        """Whether the interface is the one that `open` has made, and is served."""
        link = machine.network.link(self.interface)
        return link is not None and link.index == self._index and daemon_here(self.interface) is not None

    def _is_gone(self, machine: Machine) -> bool:
        """Whether there is no such interface. One whose daemon was killed goes a moment later."""
        until = time.monotonic() + _END_S
        while (link := machine.network.link(self.interface)) is not None:
            if link.index != self._index or time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    @contextlib.contextmanager
    def _machine(self) -> Iterator[Machine]:
        with _plain_errors(self._file.target), states.locked(self.interface), self.interrupts, Network() as network:
            yield _Machine(self.interface, network, self.interrupts)


class Attached:
    """A tunnel that another program has set up, and takes down."""

    def __init__(self, interface: str) -> None:
        self.interface = interface
        self.interrupts = Interrupts()

    def open(self) -> None:
        client.watch(self.interface)

    def close(self) -> None:
        """It is not this program's to undo."""

    def set_peer(self, wish: PeerWish) -> None:
        change = PeerChange(
            wish.public_key,
            preshared_key=Secret.take(wish.preshared_key) if wish.preshared_key is not None else None,
            persistent_keepalive=wish.persistent_keepalive,
            replace_allowed_ips=wish.allowed_ips is not None,
            allowed_ips=[AllowedIpChange(*prefix) for prefix in wish.allowed_ips or []],
        )
        if wish.endpoint is not None:
            target = Target(self.interface, "")
            with _plain_errors(target), Network() as network:
                machine = _Machine(self.interface, network, self.interrupts)
                file = QuickFile(target, WgQuickConfig(), [], "")
                change.endpoint = resolve([wish.endpoint], file, machine)[wish.endpoint]
        client.change(self.interface, DeviceChange(peers=[change]))

    def remove_peer(self, public_key: bytes) -> None:
        client.change(self.interface, DeviceChange(peers=[PeerChange(public_key, remove=True)]))

    def set_preshared_key(self, public_key: bytes, secret: Secret) -> None:
        _set_preshared_key(self.interface, public_key, secret)

    def apply(self, file: QuickFile) -> list[str]:
        raise ConfigError(f"{self.interface} is another program's: set its peers, or use `pywg reload`")


class _Machine(Machine):
    """Warnings are the program's, by its logger."""

    def warn(self, text: str) -> None:
        LOGGER.warning("%s", text)


def _status(interface: str) -> DeviceStatus:
    status, _ = client.watch(interface)
    status.private_key = None
    for peer in status.peers:
        peer.preshared_key = ZERO_KEY
    return status


def _set_preshared_key(interface: str, public_key: bytes, secret: Secret) -> None:
    peer = PeerChange(public_key, update_only=True, preshared_key=secret)
    client.change(interface, DeviceChange(peers=[peer]))


def _is_of_configuration(state: states.State | None, public_key: bytes) -> bool:
    """Whether a peer's preshared key is the one of the configuration that was applied last."""
    return state is not None and public_key in state.peers and state.peers[public_key].preshared_key


def _forget_keys(config: WgQuickConfig) -> None:
    """They are the daemon's from now on: a later change takes back none that was set since."""
    config.interface.private_key = None
    for section in config.peers:
        section.preshared_key = None


@contextlib.contextmanager
def _plain_errors(target: Target) -> Iterator[None]:
    """Where there is no file, an error names no line of one."""
    try:
        yield
    except WgQuickError as error:
        if target.path:
            raise
        raise ConfigError(error.message) from None
