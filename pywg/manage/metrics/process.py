"""The exporter from start to end: its address, its user, and what it says of daemons that do not answer."""

import asyncio
import contextlib
import errno
import functools
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from pywg.config.addresses import MAX_PORT, parse_number
from pywg.errors import ConfigError, DeviceError, PywgError
from pywg.manage.metrics import answer, ask, confined, names
from pywg.manage.metrics.server import MOST_REQUEST, PATH, Server, Shared
from pywg.runtime.base.accounts import read_account

HOST, PORT = "127.0.0.1", 9586
USER = "nobody"
_BACKLOG = 64


class Options(NamedTuple):
    """Of a command line."""

    interfaces: list[str]
    """none: all that have a socket for monitors"""
    listen: str = f"{HOST}:{PORT}"
    names: Path | None = None
    """a file of names; None: what files of wg-quick say that this user may read"""
    user: str = USER


def once(options: Options) -> bytes:
    """The page, asked for now. Raises PywgError."""
    exporter = _Exporter(options, _to_stderr)
    exporter.give_up()
    return asyncio.run(exporter.page(""))[0]


def serve(options: Options) -> None:
    """Answers until a signal ends it. Raises PywgError."""
    listeners = listen(*address(options.listen))
    exporter = _Exporter(options, _to_stderr)
    exporter.give_up()
    host, port = listeners[0].getsockname()[:2]
    _to_stderr(f"metrics on http://{f'[{host}]' if ':' in host else host}:{port}{PATH}")
    try:
        asyncio.run(_until_ended(exporter, listeners))
    except KeyboardInterrupt:
        pass
    finally:
        for one in listeners:
            one.close()


def address(text: str) -> tuple[str, int]:
    """Of `HOST`, `HOST:PORT`, `[IPV6]:PORT` or `:PORT`; no host means all addresses. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or (":" in host and not host.startswith("[")):
        host, port = text, str(PORT)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        return host, parse_number(port, MAX_PORT)
    except ConfigError:
        raise ConfigError(f"{text!a} is no address to listen on: HOST:PORT, [IPV6]:PORT or :PORT") from None


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets on all addresses that a host has. Raises DeviceError."""
    where = f"{host or 'every address'}, port {port}"
    found: list[socket.socket] = []
    try:
        known = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, at in known:
            one = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
            found.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(at)
            one.listen(_BACKLOG)
    except socket.gaierror as error:
        raise DeviceError(errno.EADDRNOTAVAIL, f"can't listen on {where}: {error.strerror}") from None
    except OSError as error:
        for one in found:
            one.close()
        raise DeviceError(error.errno or errno.EIO, f"can't listen on {where}: {error.strerror}") from None
    return found


class _Exporter:
    """What is known from one page to the next."""

    def __init__(self, options: Options, tell: Callable[[str], None]) -> None:
        self._options = options
        self._tell = tell
        self._folders = ask.folders()  # found through /proc: before the sandbox
        self._told: dict[str, str] = {}
        """Why a daemon did not answer the last time."""
        self._file = names.NamesFile(options.names) if options.names is not None else None
        self._names: names.Known = {}
        if self._file is None:
            self._names = names.read_apart([*options.interfaces, *ask.monitored(self._folders)])

    def give_up(self) -> None:
        """Gives up what answering does not need. Raises PywgError."""
        account = None if os.geteuid() else read_account("--user", self._options.user)
        readable = [str(self._options.names.absolute().parent)] if self._options.names is not None else []
        groups = confined.groups_of(ask.monitored(self._folders).values())
        try:
            missing = confined.confine(account, groups, readable)
        except OSError as error:
            raise DeviceError(
                error.errno or errno.EPERM, f"can't become {self._options.user}: {error.strerror}"
            ) from None
        if missing:
            self._tell(f"without {' and '.join(missing)}")

    async def answers(self) -> list[ask.Answer]:
        """Of all daemons, now; tells of those that do not answer, and once each."""
        found = await ask.ask(self._options.interfaces, directories=self._folders)
        why = {one.interface: one.why for one in found if one.sight is None}
        for name, text in why.items():
            if self._told.get(name) != text:
                self._tell(f"no answer of {name}: {text}")
        for name in self._told.keys() - why.keys():
            if any(one.interface == name for one in found):
                self._tell(f"{name} answers again")
        self._told = why
        return found

    async def page(
        self, accept: str, found: Iterable[ask.Answer] | None = None, *, exporter: bool = False
    ) -> tuple[bytes, str]:
        """The page and its content type."""
        if self._file is not None:
            try:
                self._names = self._file.read()
            except PywgError as error:
                self._tell(str(error))
        answers = await self.answers() if found is None else found
        return answer.text(answers, self._names, accept=accept, exporter=exporter)


async def _until_ended(exporter: _Exporter, listeners: list[socket.socket]) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    answers = Shared(exporter.answers)

    async def made(form: str) -> tuple[bytes, str]:
        return await exporter.page(form, await answers.get(), exporter=True)

    pages = {form: Shared(functools.partial(made, form)) for form in answer.FORMS}

    async def page(accept: str) -> tuple[bytes, str]:
        return await pages[answer.form_of(accept)].get()

    server = Server(page, _to_stderr)
    for one in listeners:
        await asyncio.start_server(server.serve, sock=one, limit=MOST_REQUEST)
    await ended.wait()


def _to_stderr(text: str) -> None:
    """A log that is gone ends nothing."""
    with contextlib.suppress(OSError):
        print(f"pywg: {text}", file=sys.stderr, flush=True)
