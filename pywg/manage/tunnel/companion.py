"""The step that starts the companion of a daemon, where the file asks for one."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from pywg.config.wg_quick import HostPort
from pywg.manage.companion import process
from pywg.manage.companion.settings import digest, settings_in
from pywg.manage.tunnel.machine import Machine
from pywg.manage.tunnel.names import QuickFile, Target
from pywg.manage.tunnel.steps import Step


@dataclass(frozen=True)
class Companion(Step):
    """The companion of the interface, in the background."""

    outlives = True

    file: str
    """its path"""
    digest: str
    """of what the file asks for"""

    def command(self, interface: str) -> str:
        return f"pywg companion {self.file} &"

    def undo_command(self, interface: str) -> str:
        return f"kill $(cat {process.lock_file(interface)})"

    def noun(self) -> str:
        return "companion"

    def do(self, machine: Machine) -> None:
        process.start(Target(machine.interface, self.file), dict(os.environ))

    def undo(self, machine: Machine) -> None:
        process.stop(machine.interface)


def looked_after(file: QuickFile) -> set[HostPort]:
    """The endpoints that the companion resolves again. Raises WgQuickError."""
    return {endpoint for peer in settings_in(file).peers for endpoint in peer.endpoints}


def companion_steps(file: QuickFile) -> Iterator[Step]:
    """None where the file asks for nothing of it. Raises WgQuickError."""
    settings = settings_in(file)
    if settings.wanted:
        yield Companion(os.path.realpath(file.target.path), digest(settings))
