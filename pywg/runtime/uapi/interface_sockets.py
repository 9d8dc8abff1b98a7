"""The sockets on which one interface answers: of its configuration, and for monitors where the operator wants that."""

import asyncio
from collections.abc import Callable, Mapping

from pywg.runtime.base.accounts import Owner
from pywg.runtime.base.in_use import DIRECTORY, own_folder
from pywg.runtime.base.log import Log
from pywg.runtime.base.system import Remover, SocketFile
from pywg.runtime.uapi.monitor import MonitorServer
from pywg.runtime.uapi.server import Configurable, HandOver, UapiServer
from pywg.runtime.uapi.socket import MONITOR, UapiSocket, from_fd, from_other, open_uapi


class InterfaceSockets:
    """Opens both, in one folder, and owns them. Raises DeviceError.

    `of_namespace`: in the folder of this network namespace, where `wg` does not look. `fd` is a configuration socket
    that another program made (WG_UAPI_FD), or None; then that program has said to whom it belongs, and not `owner`.
    Without a `monitor_owner` there is no socket for monitors. `others`: the descriptors of both, -1 for none, of a
    process that this one takes over from. Their files stay that one's until `are_ours`.
    """

    def __init__(
        self,
        interface: str,
        *,
        fd: int | None,
        owner: Owner,
        monitor_owner: Owner | None,
        of_namespace: bool = False,
        others: tuple[int, int] | None = None,
    ) -> None:
        self._monitor: UapiSocket | None = None
        self._first: UapiServer | None = None
        if others is not None:
            self._adopt(interface, *others)
            return
        folder = own_folder() if of_namespace else DIRECTORY
        self.configuration = open_uapi(interface, directory=folder, owner=owner) if fd is None else from_fd(fd)
        if monitor_owner is not None:
            directory = self.configuration.directory or DIRECTORY
            try:
                self._monitor = open_uapi(interface, directory=directory, suffix=MONITOR, owner=monitor_owner)
            except BaseException:
                self.configuration.close()
                raise

    def _adopt(self, interface: str, configuration: int, monitor: int) -> None:
        self.configuration = from_other(configuration, interface)
        if monitor >= 0:
            try:
                self._monitor = from_other(monitor, interface, suffix=MONITOR)
            except BaseException:
                self.configuration.close()
                raise

    def hand_over(self) -> None:
        """Another process has them now: `close` leaves the files to it."""
        for one in self._all():
            one.hand_over()

    def are_ours(self) -> None:
        """This process has them now."""
        for one in self._all():
            one.is_ours()

    @property
    def descriptors(self) -> tuple[int, int]:
        """Of both listening sockets; -1 for none."""
        return self.configuration.listener.fileno(), -1 if self._monitor is None else self._monitor.listener.fileno()

    @property
    def lock(self) -> asyncio.Lock:
        """The lock that a task holds while it changes or reads the configuration, once there are `servers`."""
        assert self._first is not None
        return self._first.configuration

    @property
    def files(self) -> list[SocketFile]:
        """Their files, as they were bound."""
        return [one.file for one in self._all() if one.file is not None]

    def listeners(self) -> list[int]:
        """Their descriptors."""
        return [one.listener.fileno() for one in self._all()]

    @property
    def removed_in(self) -> str | None:
        """The folder in which this process removes the files at its end; None where there is nothing to remove."""
        return self.configuration.directory if self.configuration.removes else None

    def leave_to(self, remover: Remover | None) -> None:
        """Has the files removed by `remover` in the end, if there is one."""
        if remover is not None:
            for one in self._all():
                one.leave_to(remover)

    def folder_is(self, directory: str) -> None:
        """Their folder has another path now."""
        for one in self._all():
            one.folder_is(directory)

    def servers(
        self,
        device: Configurable,
        log: Log,
        more_stats: Callable[[], Mapping[str, int | str]],
        hand_over: HandOver | None = None,
    ) -> list[UapiServer]:
        """A server for each, not started."""
        first = UapiServer(self.configuration.listener, device, log, more_stats=more_stats, hand_over=hand_over)
        self._first = first
        if self._monitor is None:
            return [first]
        lock = first.configuration
        return [
            first,
            MonitorServer(self._monitor.listener, device, log, configuration=lock, more_stats=more_stats),
        ]

    def close(self) -> None:
        """Removes the files. Idempotent."""
        for one in self._all():
            one.close()

    def _all(self) -> list[UapiSocket]:
        return [self.configuration, *([self._monitor] if self._monitor is not None else [])]
