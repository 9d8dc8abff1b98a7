"""The step that serves an interface in this process, and how its log becomes that of the program."""

import logging
from collections.abc import Mapping

from pywg.manage.tunnel.daemon import remove
from pywg.manage.tunnel.machine import Machine
from pywg.manage.tunnel.steps import Step
from pywg.runtime.base.in_use import is_taken_elsewhere
from pywg.runtime.base.log_output import Level
from pywg.runtime.daemon.guest import Guest
from pywg.runtime.daemon.linux import LINUX
from pywg.runtime.daemon.options import read_options

LOGGER = logging.getLogger("pywg")
_LEVELS = {
    Level.ERROR: logging.ERROR,
    Level.WARNING: logging.WARNING,
    Level.INFO: logging.INFO,
    Level.DEBUG: logging.DEBUG,
}


class Inside(Step):
    """pywg, serving the interface by a thread of this process."""

    remembered = False

    def __init__(self, variables: Mapping[str, str]) -> None:
        """`variables`: options, by the names that they have in a daemon's environment."""
        self._variables = variables
        self.guest: Guest | None = None

    def command(self, interface: str) -> str:
        return f"pywg run {interface}"

    def undo_command(self, interface: str) -> str:
        return f"ip link delete dev {interface}"

    def do(self, machine: Machine) -> None:
        variables = {"LOG_LEVEL": "debug", **self._variables}  # the program's loggers choose
        if is_taken_elsewhere(machine.interface):
            variables["PYWG_NAMESPACE_SOCKET"] = "1"
        options = read_options(machine.interface, variables)
        self.guest = Guest(options, LINUX, output=_ToLogger(machine.interface))
        self.guest.start()

    def undo(self, machine: Machine) -> None:
        remove(machine)
        self.end()

    def end(self) -> None:
        """Returns when the thread has ended. Idempotent."""
        if self.guest is not None:
            self.guest.stop()


class _ToLogger:
    """An output of the log: a logger of the program, whose handlers may wait; that holds up no packet."""

    waiting = False

    def __init__(self, interface: str) -> None:
        self._logger = LOGGER.getChild(interface)

    def put(self, level: Level, _line: str, bare: str) -> bool:
        self._logger.log(_LEVELS[level], "%s", bare)
        return True

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """The logger stays."""
