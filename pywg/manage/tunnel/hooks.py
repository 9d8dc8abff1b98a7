"""PreUp, PostUp, PreDown and PostDown: the operator's own commands, run by a shell."""

import contextlib
import errno
import signal
import subprocess
from dataclasses import dataclass

from pywg.errors import DeviceError
from pywg.manage.tunnel.machine import Machine, program
from pywg.manage.tunnel.steps import Step

_END_S = 5.0


@dataclass(frozen=True)
class Hook(Step):
    """One command. Its undo is for the operator to say, in another hook."""

    remembered = False

    phase: str
    text: str

    def command(self, interface: str) -> str:
        return self.text.replace("%i", interface)

    def undo_command(self, interface: str) -> str:
        return ""

    def name(self, interface: str) -> str:
        return f"{self.phase} `{self.command(interface)}`"

    def do(self, machine: Machine) -> None:
        """Runs it where the command of pywg runs: with its terminal, environment and standard input."""
        shell = program("bash") or "/bin/sh"  # wg-quick's are bash's
        process = subprocess.Popen([shell, "-c", self.command(machine.interface)])  # where no signal is heard
        try:
            with machine.interrupts.waiting():
                status = process.wait()
        except BaseException:
            _end(process)
            raise
        if status:
            how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            raise DeviceError(errno.EIO, f"it {how}")

    def undo(self, machine: Machine) -> None:
        """None."""


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
