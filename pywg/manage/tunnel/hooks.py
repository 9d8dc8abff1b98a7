"""PreUp, PostUp, PreDown and PostDown: the operator's own commands, run by a shell."""

import contextlib
import errno
import os
import signal
import subprocess
from dataclasses import dataclass

from pywg.errors import DeviceError
from pywg.manage.tunnel.machine import Machine, program
from pywg.manage.tunnel.steps import Step
from pywg.runtime.base.in_use import DIRECTORY, folder_of, forget_own_folder, is_taken_elsewhere, own_folder
from pywg.runtime.base.libc import mount, unshare

_END_S = 5.0
_CLONE_NEWNS = 0x20000
_BIND, _RECURSIVE, _SLAVE = 4096, 16384, 1 << 19


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
        argv = [shell, "-c", self.command(machine.interface)]
        beside = folder_of(machine.interface) != DIRECTORY or is_taken_elsewhere(machine.interface)
        try:  # where no signal is heard
            before = _see_own_sockets if beside else None
            process = subprocess.Popen(argv, preexec_fn=before)  # noqa: PLW1509 - there is one thread
        except subprocess.SubprocessError as error:
            text = f"it can't be run, as `wg` would reach the {machine.interface} of another network namespace from it"
            raise DeviceError(errno.EPERM, text) from error
        try:
            with machine.interrupts.waiting(process.terminate):
                status = process.wait()
        except BaseException:
            _end(process)
            raise
        finally:
            if beside:
                forget_own_folder()
        if status:
            how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            raise DeviceError(errno.EIO, f"it {how}")

    def undo(self, machine: Machine) -> None:
        """None."""


def _see_own_sockets() -> None:
    """Has `wg`, which looks into one folder, find the sockets of this network namespace there, and no other's."""
    own = own_folder()
    os.makedirs(own, mode=0o755, exist_ok=True)
    unshare(_CLONE_NEWNS)
    mount("", "/", "", _RECURSIVE | _SLAVE)
    mount(own, DIRECTORY, "", _BIND)


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
