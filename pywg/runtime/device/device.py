"""A WireGuard device: the configuration's view of a core, a data plane and a pair of sockets.

It holds no copy of their state: the core owns peers, keys and timers, the plane endpoints and allowed IPs.

What a change of the configuration does is in changes.py. This module knows no socket call and no event loop.
"""

import contextlib
import errno
import os
import resource
from collections.abc import Callable, Sequence

from pywg.config.model import ZERO_KEY, DeviceChange, DeviceStatus, PeerStatus, PeerTrouble
from pywg.core.events import Activity, Endpoint
from pywg.core.tunnel import Tunnel
from pywg.dataplane.crypto.secret import Secret, locked
from pywg.errors import UapiError
from pywg.runtime.base import clock
from pywg.runtime.base.clock import CallLater
from pywg.runtime.base.feed import Feed
from pywg.runtime.base.log import Log
from pywg.runtime.base.system import Refusals, Sockets
from pywg.runtime.device import carried
from pywg.runtime.device.announcer import Announcer, Sources
from pywg.runtime.device.bridge import Bridge, surely
from pywg.runtime.device.carried import DeviceState
from pywg.runtime.device.changes import Changes
from pywg.runtime.device.handshake_log import HandshakeLog
from pywg.runtime.device.listen_port import ListenPort, OpenSockets
from pywg.runtime.device.plane import DataPlane


def _lockable() -> str:
    """How much memory may be locked, in words. Asked at the start: the sandbox has no call for it."""
    try:
        limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    except OSError:
        return "not known"
    return f"{limit} bytes"


class Device:
    """All of one interface but the interface itself. Calls `tun_gone` when the plane finds it deleted.

    `call_later` is the event loop's. `boot_later` is for one callback at a time, and counts through suspend, as `now`
    does.
    """

    def __init__(
        self,
        plane: DataPlane,
        *,
        log: Log,
        call_later: CallLater,
        boot_later: CallLater,
        tun_gone: Callable[[], None],
        open_sockets: OpenSockets,
        now: Callable[[], float] = clock.now,
        wall_ns: Callable[[], int] = clock.wall_ns,
        random: Callable[[int], bytes] = os.getrandom,  # urandom() opens a file for good where this fails once
        memory_locked: Callable[[], bool] = locked,
        refusals: Refusals | None = None,
    ) -> None:
        self._plane = plane
        self._log = log
        self._now = now
        self._refusals = refusals
        self._tunnel = Tunnel(
            random=random,
            wall_ns=wall_ns,
            activity=lambda peer: Activity(*plane.activity(peer)),
            withdraw=plane.withdraw_keypair,
            shards=plane.shards,
        )
        self._handshakes = HandshakeLog(log, self._tunnel, now, self.endpoint, self._ask_refusal)
        self._announcer = Announcer(
            self._tunnel,
            Sources(self.endpoint, self.troubles, self._losses),
            now=now,
            wall=lambda: wall_ns() / 1e9,
            later=call_later,
        )
        self._bridge = Bridge(
            self._tunnel,
            plane,
            call_later=boot_later,
            now=now,
            log=log,
            handshakes=self._handshakes,
            announcer=self._announcer,
            tun_gone=tun_gone,
        )
        self._listen_port = ListenPort(
            open_sockets=open_sockets, attach=self._attach, try_again=self._try_up, call_later=call_later, log=log
        )
        self._changes = Changes(
            self._tunnel,
            plane,
            self._bridge,
            listen_port=self._listen_port,
            handshakes=self._handshakes,
            announcer=self._announcer,
            log=log,
            now=now,
            endpoint=self.endpoint,
            clear_sources=self._clear_sources,
        )
        self._mtu = 0
        self._wanted_up = False
        self._frozen = False
        self._lacking: set[int] = set()
        """Keypairs that were carried here and that the plane has not, by local index."""
        self._memory_locked = memory_locked
        self._lockable = _lockable()
        self._said_unlocked = False
        Secret(length=1).wipe()  # the arena exists from the start, and so it is known whether it could be locked
        self._look_at_memory()

    # The interface

    def up(self) -> None:
        """The operator set the interface up: opens sockets, or uses those held, and sends the keepalives that are due.

        It tries again while the port can't be had.
        """
        if self._wanted_up:
            return
        self._wanted_up = True
        self._log.info("interface is up")
        self._announcer.link(up=True)
        self._try_up()

    def down(self) -> None:
        """The operator set the interface down: closes the sockets, wipes the sessions, drops staged packets."""
        if not self._wanted_up:
            return
        self._wanted_up = False
        self._log.info("interface is down")
        self._announcer.link(up=False)
        self._announcer.all_sessions_ended()
        if self._listen_port.in_use:
            self._tunnel.down(self._now())
            self._bridge.move()
            self._handshakes.all_changed()
            self._plane.detach_sockets()
        self._listen_port.down()

    def set_mtu(self, mtu: int) -> None:
        """Takes the interface's MTU in bytes."""
        self._mtu = mtu
        self._plane.set_mtu(mtu)

    def answer_through(self, fd4: int, fd6: int) -> None:
        """Takes raw ICMP sockets in the interface's namespace, through which inner senders are told; -1 for none."""
        self._plane.attach_icmp(fd4, fd6)

    def heartbeats(self) -> tuple[int, ...]:
        """How often each of the plane's threads has gone round its loop. Wakes each to do so again."""
        return self._plane.heartbeats()

    def on_plane_ready(self) -> None:
        """Takes what the plane has, when its event descriptor is readable."""
        if self._frozen:
            return
        self._bridge.on_plane_ready()
        self._look_at_memory()

    def close(self) -> None:
        """Goes down, and wipes all secrets. The caller closes the plane."""
        self.down()
        self._announcer.close()
        self._listen_port.close()
        self._bridge.close()
        self._tunnel.set_private_key(None, self._now())
        self._bridge.move_events()
        self._plane.set_identity(None)
        for peer in self._tunnel.peers():
            self._tunnel.set_preshared_key(peer, None)

    # Handover to another process

    @property
    def carried_bytes(self) -> int:
        """Bytes that `carried` takes at most when it is written, as things stand."""
        return carried.most_bytes(self._tunnel, self._plane)

    def freeze(self) -> None:
        """Sends and receives nothing, and counts no further, until `thaw`. The caller has detached the TUN.

        The caller also sees to it that meanwhile nothing but `thaw`, `carried`, `stats` and `close` is called. Where
        this raises, `thaw` is due as well.
        """
        self._frozen = True
        self._bridge.pause()
        self._plane.detach_sockets()
        self._bridge.settle()
        self._plane.freeze()

    def thaw(self) -> None:
        """Goes on as if nothing had been. The caller attaches the TUN afterwards."""
        self._plane.thaw()
        self._frozen = False
        self._use_sockets()
        self._bridge.go_on()

    def carried(self) -> DeviceState:
        """All that another process needs to go on, of a frozen device. The secrets of sessions are the caller's."""
        port = self._listen_port
        return DeviceState(
            self._tunnel.private_key,
            port.number,
            port.asked,
            port.fwmark,
            self._wanted_up,
            port.in_use,
            self._mtu,
            [
                carried.gather(self._tunnel, self._plane, peer, endpoint_is_set=self._handshakes.endpoint_was_set(peer))
                for peer in self._tunnel.peers()
            ],
        )

    def resume(self, state: DeviceState, sockets: Sockets | None) -> None:
        """Puts in place what another process has carried; sends nothing until `go_on`. Takes over keys and sockets.

        For a device that has nothing yet. Raises DeviceError for a state that can't be, MemoryError.
        """
        now = self._now()
        self._frozen = True
        self._bridge.pause()
        self._plane.freeze()
        self._listen_port.resume(state.port, state.asked_port, state.fwmark, sockets, up=state.up)
        self._wanted_up = state.up
        self.set_mtu(state.mtu)
        if state.private_key is not None:
            self._tunnel.set_private_key(state.private_key, now)
            self._plane.set_identity(self._tunnel.public_key)
        for one in state.peers:
            peer, lacking = carried.put_in_place(one, self._tunnel, self._plane, now)
            self._lacking |= lacking
            if one.endpoint_is_set:
                self._handshakes.endpoint_set(peer, moved=False)
            if one.core.keypairs:
                self._announcer.resumed(peer, max(keypair.created_at for keypair in one.core.keypairs))

    def go_on(self) -> None:
        """From now on this process is the one that sends. The caller attaches the TUN afterwards."""
        self._plane.thaw()
        self._frozen = False
        self._use_sockets()
        if self._listen_port.in_use:
            self._tunnel.go_on(self._now())
        self._bridge.go_on(self._lacking)

    def _use_sockets(self) -> None:
        sockets = self._listen_port.sockets
        if self._listen_port.in_use and sockets is not None:
            self._hand_to_plane(sockets)
        elif self._wanted_up:
            self._try_up()

    # The configuration

    def apply(self, change: DeviceChange) -> None:
        """Carries out a UAPI set operation, whole or not at all. Takes over the secret keys in `change`.

        Raises UapiError when the port or the mark can't be had (EADDRINUSE, EACCES, EPERM, ...); nothing has changed.
        Raises MemoryError, and nothing has changed either, unless others have taken memory since it was reserved: core
        and plane then agree on those peers that could be had.
        """
        if self._frozen:
            raise UapiError("another daemon has taken over", errno=errno.EAGAIN)
        self._changes.apply(change)
        self._look_at_memory()

    def status(self) -> DeviceStatus:
        """The status that a UAPI get operation shows. Its keys are the device's own, not copies.

        Peers are in the order in which they were added.
        """
        return DeviceStatus(
            private_key=self._tunnel.private_key,
            listen_port=self._listen_port.number,
            fwmark=self._listen_port.fwmark,
            peers=[self._peer_status(peer) for peer in self._tunnel.peers()],
        )

    def stats(self) -> dict[str, int | str]:
        """Counters and switches by name: `counter_*`, `batch_*` and `handshakes` grow, `offload_*` are 0 or 1,
        `memory_*` are bytes of the data plane, and the rest are present values."""
        sockets = self._listen_port.sockets
        stats: dict[str, int | str] = {
            "aead": self._plane.aead,
            "threads": self._plane.threads,
            "shards": self._plane.shards,
            "lanes": self._plane.lanes,
            "turns": int(self._plane.turns),
            "processors": self._plane.processors,
            "up": int(self._wanted_up),
            "sockets_open": int(sockets is not None),
            "mtu": self._mtu,
            "peers": len(self._tunnel.peers()),
            "handshakes": self._bridge.handshakes,
            "secrets_locked": int(self._memory_locked()),
            "receive_buffer": 0 if sockets is None else sockets.receive_buffer,
            "send_buffer": 0 if sockets is None else sockets.send_buffer,
            "offload_udp_gro": int(sockets is not None and sockets.udp_gro),
        }
        stats.update((f"offload_{name}", int(on)) for name, on in self._plane.offloads().items())
        stats.update((f"memory_{name}", length) for name, length in self._plane.memory().items())
        stats.update((f"batch_{name}", count) for name, count in self._plane.batches().items())
        stats.update((f"counter_{_word(name)}", count) for name, count in self._plane.counters().items())
        stats.update((f"counter_handshake_{_word(name)}", count) for name, count in self._bridge.dropped.items())
        return stats

    @property
    def feed(self) -> Feed:
        """What happens, for those that subscribe."""
        return self._announcer.feed

    def troubles(self) -> list[PeerTrouble]:
        """Of each peer that owes an answer to initiations: how many, since when, and why as far as that is known."""
        return self._handshakes.troubles()

    # The peers' sources, for routes.RouteWatcher

    @property
    def bound_ifindex(self) -> int:
        """The index of the device that the sockets are bound to, 0 for none."""
        sockets = self._listen_port.sockets
        return 0 if sockets is None else sockets.ifindex

    def udp_descriptors(self) -> Sequence[tuple[int, int]]:
        """Those of the sockets of IPv4 and IPv6, a pair for each shard that has some; -1 for a family that has none."""
        sockets = self._listen_port.sockets
        return () if sockets is None else sockets.pairs

    @property
    def fwmark(self) -> int:
        """The mark on what the sockets send, 0 for none."""
        return self._listen_port.fwmark

    def peers(self) -> list[int]:
        """All peers, by the ids that core and plane have for them."""
        return list(self._tunnel.peers())

    def endpoint(self, peer: int) -> Endpoint | None:
        """A peer's endpoint, with the local address that it spoke to; None when unknown, or when the peer is gone."""
        with contextlib.suppress(KeyError):
            addr = self._plane.endpoint(peer)
            if addr is not None:
                return Endpoint(*addr)
        return None

    def clear_source(self, peer: int) -> None:
        """Forgets the local address that a peer spoke to: the route decides until it speaks again. It may be gone."""
        with contextlib.suppress(KeyError):
            surely(self._plane.clear_source, peer)

    def _look_at_memory(self) -> None:
        """Tells once that keys can't be locked. Each 64 KiB is locked on demand, so it may come at any time."""
        if self._said_unlocked or self._memory_locked():
            return
        self._said_unlocked = True
        self._log.error(
            f"keys may be written to swap space: no more memory can be locked (RLIMIT_MEMLOCK is {self._lockable}); "
            "raise it with `ulimit -l unlimited` or LimitMEMLOCK=infinity, or start pywg with CAP_IPC_LOCK"
        )

    def _peer_status(self, peer: int) -> PeerStatus:
        state = self._tunnel.peer_state(peer)
        addr = self._plane.endpoint(peer)
        tx_bytes, rx_bytes = self._plane.peer_stats(peer)
        return PeerStatus(
            public_key=state.public_key,
            preshared_key=ZERO_KEY if state.preshared_key is None else state.preshared_key,
            endpoint=None if addr is None else addr[:3],
            last_handshake_ns=state.last_handshake_wall_ns,
            tx_bytes=tx_bytes,
            rx_bytes=rx_bytes,
            persistent_keepalive=state.persistent_keepalive,
            allowed_ips=self._plane.allowed_ips(peer),
        )

    # The sockets

    def _try_up(self) -> None:
        if self._frozen:
            return  # it is tried again when the device goes on
        self._listen_port.up()
        self._bridge.move()

    def rebind(self) -> bool:
        """Opens the sockets again, beside the present ones, on the same port; sessions go on. False when it can't."""
        if self._frozen:
            return False
        bound = self._listen_port.rebind()
        self._bridge.move()
        return bound

    def _losses(self) -> dict[str, int]:
        """The counters that the event `drops` compares."""
        refused = {f"handshake_{_word(name)}": count for name, count in self._bridge.dropped.items()}
        return self._plane.counters() | refused

    def _ask_refusal(self, endpoint: Endpoint, told: Callable[[int], None]) -> None:
        if self._refusals is not None:
            self._refusals.ask(endpoint, self.fwmark, told)

    def _attach(self, sockets: Sockets, first: bool) -> None:
        """Brings sockets into use. Sessions go on over new ones; with the first, the device comes up."""
        self._hand_to_plane(sockets)
        if first:
            self._tunnel.up(self._now())
        else:
            self._clear_sources()

    def _hand_to_plane(self, sockets: Sockets) -> None:
        (fd4, fd6), *more = sockets.pairs
        surely(self._plane.attach_sockets, fd4, fd6, more)

    def _clear_sources(self) -> None:
        """Lets the routing table choose the sources again: another port or mark may mean another route."""
        for peer in self._tunnel.peers():
            self.clear_source(peer)


def _word(name: str) -> str:
    return name.replace(" ", "_").replace("-", "_")
