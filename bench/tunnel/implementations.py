"""The WireGuard daemons that can stand at an end of the tunnel, by the names that the command lines use."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .command import CommandError, run

ROOT = Path(__file__).resolve().parents[2]
GO_BIN = ROOT / ".cache" / "go-bin"
NEWEST_GO_MODULE = "golang.zx2c4.com/wireguard@latest"


class NotInstalledError(CommandError):
    """A daemon is not there; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Implementation:
    """A daemon: `command` is run in the foreground with the interface's name behind it."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)

    def argv(self, interface: str) -> list[str]:
        """The command line that serves `interface`."""
        return [*self.command, interface]

    def environment(self) -> dict[str, str]:
        """The environment it runs in: ours, its own additions, and no more than errors in its log unless asked for."""
        return {"LOG_LEVEL": "error", **os.environ, **self.env}

    @property
    def has_stats(self) -> bool:
        """Whether `COMMAND stats INTERFACE` prints counters and offloads: pywg's own addition."""
        return self.name.startswith("pywg")


def find(name: str) -> Implementation:
    """The daemon called `name`: pywg, wireguard-go (the distribution's), wireguard-go-new, or the path of another.

    A path is taken to understand `-f INTERFACE`, as wireguard-go does. Raises NotInstalledError.
    """
    if name == "pywg":
        return Implementation(name, (str(_pywg()), "-f"))
    if name == "wireguard-go":
        if installed := shutil.which(name):
            return Implementation(name, (installed, "-f"))
        raise NotInstalledError("wireguard-go is not installed: apt-get install wireguard-go")
    if name == "wireguard-go-new":
        if (built := GO_BIN / "wireguard").exists():
            return Implementation(name, (str(built), "-f"))
        raise NotInstalledError(f"{built} is not there: make bench builds it where Go is ({NEWEST_GO_MODULE})")
    if "/" in name and os.access(name, os.X_OK):
        return Implementation(Path(name).name, (str(Path(name).resolve()), "-f"))
    raise NotInstalledError(f"unknown daemon {name!r}: pywg, wireguard-go, wireguard-go-new, or the path of a program")


def _pywg() -> Path:
    """The console script beside the running interpreter, so that the lab tests what this environment has installed."""
    script = Path(sys.executable).parent / "pywg"
    if not script.exists():
        raise NotInstalledError(f"{script} is not there: make venv builds it")
    return script


def build_newest_wireguard_go() -> Implementation:
    """Builds the newest wireguard-go from the Go modules into .cache/go-bin, once. NotInstalledError without Go."""
    if not (GO_BIN / "wireguard").exists():
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
        if go is None:
            raise NotInstalledError(
                "the newest wireguard-go is missing from this run: Go is not installed (apt-get install golang)"
            )
        GO_BIN.mkdir(parents=True, exist_ok=True)
        try:
            run(go, "install", NEWEST_GO_MODULE, timeout=600, env={**os.environ, "GOBIN": str(GO_BIN)})
        except CommandError as error:
            raise NotInstalledError(f"the newest wireguard-go is missing from this run: {error}") from error
    return find("wireguard-go-new")


def version(implementation: Implementation) -> str:
    """The version that the daemon reports, in one line."""
    return next(iter(run(implementation.command[0], "--version").splitlines()), "?")
