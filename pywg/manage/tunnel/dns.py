"""Name servers and search domains while the interface is up.

systemd-resolved gets them where it answers this machine's programs, else resolvconf where it is installed, else
/etc/resolv.conf itself, which is kept and restored. All names are then asked of these servers, as with wg-quick.
"""

import contextlib
import errno
import os
import re
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pywg.manage.tunnel.machine import Machine, program, run
from pywg.manage.tunnel.state import others, rewrite
from pywg.manage.tunnel.steps import Step
from pywg.manage.whole_file import replacing

RESOLV_CONF = "/etc/resolv.conf"
RESOLVED = "/run/systemd/resolve"
_STUB = "nameserver 127.0.0.53"
_RESOLVED_TOOLS = ("resolvectl", "systemd-resolve")
_ORDER = "/etc/resolvconf/interface-order"
_IPV4 = re.compile(r"[0-9.]+")


@dataclass(frozen=True)
class Resolved(Step):
    """By systemd-resolved."""

    outlives = True

    servers: tuple[str, ...]
    search: tuple[str, ...]

    def noun(self) -> str:
        return _noun(self.servers, self.search)

    def command(self, interface: str) -> str:
        return "\n".join(" ".join(one) for one in self._commands(interface))

    def undo_command(self, interface: str) -> str:
        return f"resolvectl revert {interface}"

    def do(self, machine: Machine) -> None:
        try:
            for one in self._commands(machine.interface):
                run(one)
        except OSError:
            with contextlib.suppress(OSError):
                self.undo(machine)
            raise

    def undo(self, machine: Machine) -> None:
        if machine.network.link(machine.interface) is not None:  # resolved forgets those that go
            run(("resolvectl", "revert", machine.interface))

    def _commands(self, interface: str) -> tuple[tuple[str, ...], ...]:
        return ("resolvectl", "dns", interface, *self.servers), ("resolvectl", "domain", interface, *self.search, "~.")


@dataclass(frozen=True)
class Resolvconf(Step):
    """By resolvconf."""

    outlives = True
    in_namespace = False

    servers: tuple[str, ...]
    search: tuple[str, ...]

    def noun(self) -> str:
        return _noun(self.servers, self.search)

    def command(self, interface: str) -> str:
        text = resolv_conf(self.servers, self.search).replace("\n", "\\n")
        return f"printf '{text}' | resolvconf -a {_prefix()}{interface} -m 0 -x"

    def undo_command(self, interface: str) -> str:
        return f"resolvconf -d {_prefix()}{interface} -f"

    def do(self, machine: Machine) -> None:
        name = f"{_prefix()}{machine.interface}"
        run(("resolvconf", "-a", name, "-m", "0", "-x"), text=resolv_conf(self.servers, self.search))

    def undo(self, machine: Machine) -> None:
        run(("resolvconf", "-d", f"{_prefix()}{machine.interface}", "-f"))


@dataclass(frozen=True)
class ResolvConf(Step):
    """In a file. `path` is the file itself, where /etc/resolv.conf is a link."""

    outlives = True
    in_namespace = False

    servers: tuple[str, ...]
    search: tuple[str, ...]
    path: str
    before: str | None
    """the text until then; None: there was no file"""
    after: str

    def noun(self) -> str:
        return _noun(self.servers, self.search)

    def command(self, interface: str) -> str:
        return f"printf '{self._shown()}' > {self.path}"

    def undo_command(self, interface: str) -> str:
        return f"rm {self.path}" if self.before is None else f"# restores {self.path}"

    def do(self, machine: Machine) -> None:
        _replace(self.path, self.after)

    def undo(self, machine: Machine) -> None:
        """Puts the text back, unless it is no longer ours: then another tunnel has it as the one to put back, or
        another program has written it, who knows better."""
        if _read(self.path) == self.after:
            if self.before is not None:
                _replace(self.path, self.before)
            else:
                os.unlink(self.path)
            return
        for state in others(machine.interface):
            for position, step in enumerate(state.steps):
                if isinstance(step, ResolvConf) and (step.path, step.before) == (self.path, self.after):
                    state.steps[position] = replace(step, before=self.before)
                    rewrite(state)
                    return
        machine.warn(f"{self.path} is left as it is: another program has changed it since")

    def same(self) -> Step:
        return replace(self, before=None, after="")

    def _shown(self) -> str:
        return resolv_conf(self.servers, self.search).replace("\n", "\\n")


def dns_step(interface: str, servers: Sequence[str], search: Sequence[str]) -> Step:
    """The step for this machine, as it is now."""
    names = tuple(servers), tuple(search)
    if program("resolvectl") and _resolved_answers():
        return Resolved(*names)
    if (path := program("resolvconf")) and not _is_resolveds(path):
        return Resolvconf(*names)
    path = os.path.realpath(RESOLV_CONF)
    before = _read(path)
    return ResolvConf(*names, path, before, _written(interface, *names, before or ""))


def is_server(text: str) -> bool:
    """Whether an entry of DNS is the address of a server, as wg-quick tells it from a search domain."""
    return ":" in text or _IPV4.fullmatch(text) is not None


def host_servers() -> list[str]:
    """Name servers that this machine's programs ask, where they ask none of systemd's in another way."""
    return re.findall(r"^\s*nameserver\s+(\S+)", _read(RESOLV_CONF) or "", re.M)


def _resolved_answers() -> bool:
    """Whether systemd-resolved runs, and programs on this machine ask it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(f"{RESOLVED}/io.systemd.Resolve"):
            return False
    if os.path.realpath(RESOLV_CONF).startswith(f"{RESOLVED}/") or _STUB in (_read(RESOLV_CONF) or ""):
        return True
    hosts = re.search(r"^\s*hosts:(.*)$", _read("/etc/nsswitch.conf") or "", re.M)
    return hosts is not None and "resolve" in hosts[1].split()


def _is_resolveds(resolvconf: str) -> bool:
    """Whether it is another name of resolvectl, which is of no use where no program asks systemd-resolved."""
    return os.path.basename(os.path.realpath(resolvconf)) in _RESOLVED_TOOLS


def _prefix() -> str:
    """What goes before an interface's name, for Debian's resolvconf to put it first."""
    for line in (_read(_ORDER) or "").splitlines():
        if found := re.fullmatch(r"([A-Za-z0-9-]+)\*", line.strip()):
            return f"{found[1]}."
    return ""


def _noun(servers: Sequence[str], search: Sequence[str]) -> str:
    return f"DNS {' '.join((*servers, *search))}"


def resolv_conf(servers: Sequence[str], search: Sequence[str]) -> str:
    """What names them in /etc/resolv.conf."""
    lines = [f"nameserver {server}" for server in servers]
    return "\n".join([*lines, f"search {' '.join(search)}"] if search else lines) + "\n"


def _written(interface: str, servers: Sequence[str], search: Sequence[str], before: str) -> str:
    options = "".join(f"{line}\n" for line in before.splitlines() if line.startswith("options"))
    return f"# {interface} is up: `pywg down {interface}` restores this file\n{resolv_conf(servers, search)}{options}"


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text("utf-8", "surrogateescape")
    except OSError:
        return None


def _replace(path: str, text: str) -> None:
    """Replaces a file as a whole, but where it can't be renamed over because it is a mount, as in a container. Owner,
    mode and label stay. Raises OSError."""
    data = text.encode("utf-8", "surrogateescape")
    try:
        with replacing(path) as file:
            os.fchmod(file.fileno(), 0o644)
            with contextlib.suppress(FileNotFoundError):
                found = os.stat(path)
                shutil.copystat(path, file.name)
                os.fchown(file.fileno(), found.st_uid, found.st_gid)
            file.write(data)  # last: its time is not that of the old one
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EXDEV):
            raise
        Path(path).write_bytes(data)
