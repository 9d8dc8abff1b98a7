"""What steps act on: this machine's network, as one interface of it sees it, and the programs that steps run."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from pywg.errors import DeviceError
from pywg.manage.network import Network
from pywg.manage.tunnel.interrupt import Interrupts

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Searched too: the PATH of a user who has become root often lacks the programs of root."""
_TOOL_S = 60.0


class Machine:
    """The network namespace of this thread, and the name of an interface in it, which may not exist yet."""

    def __init__(self, interface: str, network: Network, interrupts: Interrupts, *, verbose: bool = False) -> None:
        self.interface = interface
        self.network = network
        self.interrupts = interrupts
        self._verbose = verbose

    @property
    def index(self) -> int:
        """The interface's. Raises OSError ENODEV when there is none."""
        link = self.network.link(self.interface)
        if link is None:
            raise OSError(errno.ENODEV, f"there is no interface {self.interface}")
        return link.index

    def show(self, commands: str) -> None:
        """Says what is about to be done, as wg-quick does."""
        if self._verbose:
            for command in commands.splitlines():
                print(f"[#] {command}", file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Says what the operator should know, and what stops nothing."""
        print(f"pywg: warning: {text}", file=sys.stderr, flush=True)


def program(name: str) -> str | None:
    """The path of a program that is installed; None when it isn't."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}")


def run(argv: Sequence[str], *, text: str = "") -> str:
    """Runs a program to its end, with `text` as its standard input, and returns its output.

    It gets a session of its own, so that a Ctrl-C leaves it alone. Raises DeviceError with the last line of what it
    said.
    """
    path = program(argv[0])
    if path is None:
        raise DeviceError(errno.ENOENT, f"{argv[0]} is not installed")
    try:
        done = subprocess.run(
            [path, *argv[1:]],
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_TOOL_S,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(errno.ETIMEDOUT, f"{argv[0]} did not end within {_TOOL_S:.0f} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()
        raise DeviceError(errno.EIO, f"{argv[0]}: {said[0]}")
    return done.stdout
