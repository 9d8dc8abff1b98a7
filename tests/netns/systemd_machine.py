"""A machine whose PID 1 is a real systemd: new namespaces of every kind around a network namespace that is there.

Its root directory is its own, in memory, with this system's programs in it, and pywg in /usr/local/bin; boot.sh makes
it. It has the units that it is given, the journal, and no others. When it is removed, everything goes with its PID 1.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from bench.tunnel.builds import ROOT
from bench.tunnel.command import CommandError, run
from bench.tunnel.namespace import Namespace
from bench.tunnel.site import poll
from tests.requirements import require_tool

BOOTS_WITHIN_S = 60.0
SYSTEM_UNITS = Path("/lib/systemd/system")
_NEEDED_UNITS = (
    "basic.target",
    "multi-user.target",
    "network.target",
    "network-online.target",
    "nss-lookup.target",
    "shutdown.target",
    "sysinit.target",
    "systemd-journald.service",
    "systemd-journald.socket",
)


class Machine:
    """Runs as long as a `with` block lasts. `units` are files or directories for /etc/systemd/system."""

    def __init__(self, namespace: Namespace, directory: Path, units: tuple[Path, ...]) -> None:
        self._namespace = namespace
        self._root = directory / "root"
        self._units = directory / "units"
        self._log = directory / "boot.log"
        self._cgroup = _cgroup2() / f"{namespace.name}-machine"
        self._pid = 0
        self._unshare: subprocess.Popen[bytes] | None = None
        require_tool("nsenter")
        if not Path("/lib/systemd/systemd").exists():
            pytest.skip("systemd is not installed")
        self._root.mkdir()
        self._units.mkdir()
        for unit in (*(SYSTEM_UNITS / name for name in _NEEDED_UNITS), *units):
            (shutil.copytree if unit.is_dir() else shutil.copy)(unit, self._units / unit.name)

    def __enter__(self) -> Self:
        try:
            self._boot()
        except BaseException as error:
            self.remove()
            if isinstance(error, TimeoutError):
                raise CommandError(f"{error}\n{self._log.read_text(errors='replace')[-2000:]}") from error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    def _boot(self) -> None:
        self._cgroup.mkdir()
        join = f'echo $$ > "{self._cgroup}/cgroup.procs" && exec "$@"'
        network = ("nsenter", f"--net={self._namespace.path}")  # `ip netns exec` would hide the control groups
        namespaces = ("--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--cgroup")
        boot = (str(Path(__file__).with_name("boot.sh")), str(self._root), str(ROOT), sys.prefix, str(self._units))
        with self._log.open("wb") as log:
            argv = ["sh", "-c", join, "sh", *network, "unshare", *namespaces, "bash", *boot]
            unshare = self._unshare = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")

        def booted() -> bool:
            if unshare.poll() is not None:
                raise CommandError(f"systemd did not start:\n{self._log.read_text(errors='replace')[-2000:]}")
            self._pid = self._pid or int((children.read_text().split() or ["0"])[0])
            with contextlib.suppress(CommandError):
                return bool(self._pid) and self.run("systemctl", "is-active", "multi-user.target") == "active\n"
            return False

        poll(booted, "systemd has booted", BOOTS_WITHIN_S)

    def run(self, *argv: str, stdin: str | None = None, timeout: float = 60.0) -> str:
        """Runs a command in the machine to its end; see command.run."""
        environment = ("env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin", "LC_ALL=C.UTF-8", "SYSTEMD_PAGER=")
        return run("nsenter", f"--target={self._pid}", "--all", *environment, *argv, stdin=stdin, timeout=timeout)

    def write(self, path: str, text: str) -> None:
        """Writes a file in the machine, readable by root alone, and the directories above it."""
        self.run("sh", "-c", 'umask 077; mkdir -p "${1%/*}"; cat >"$1"', "sh", path, stdin=text)

    def property(self, unit: str, name: str) -> str:
        """One property of a unit, as `systemctl show` has it."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def journal(self, unit: str) -> str:
        """What a unit's processes, and systemd about it, have said."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--output=cat", f"--unit={unit}")

    def processes(self, unit: str) -> list[str]:
        """The names of the processes in a unit's control group."""
        group = self.property(unit, "ControlGroup")
        if not group:
            return []
        script = 'cd "/sys/fs/cgroup$1" && for p in $(cat cgroup.procs); do cat "/proc/$p/comm"; done'
        return self.run("sh", "-c", f"{{ {script}; }} 2>/dev/null; true", "sh", group).split()  # one may end meanwhile

    def signal(self, unit: str, number: signal.Signals) -> None:
        """Sends a signal to a unit's main process."""
        self.run("kill", f"-{number.value}", self.property(unit, "MainPID"))

    def remove(self) -> None:
        """Kills PID 1, and with it everything in the machine; then the control groups are empty."""
        if self._unshare is not None:
            self._unshare.kill()  # --kill-child: PID 1 goes with it
            self._unshare.wait()
        until = time.monotonic() + 10
        while self._cgroup.exists():
            for directory, _, _ in os.walk(self._cgroup, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
            if time.monotonic() > until:
                raise CommandError(f"{self._cgroup} can't be removed")
            time.sleep(0.01)


def _cgroup2() -> Path:
    """Where the unified hierarchy of control groups is mounted."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, filesystem = line.partition(" - ")
        if filesystem.startswith("cgroup2 "):
            return Path(mount.split()[4])
    pytest.skip("no cgroup2 is mounted")
