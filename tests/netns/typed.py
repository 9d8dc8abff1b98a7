"""A machine at which a page's commands are typed: a network namespace with directories of its own."""

import os
import subprocess
from pathlib import Path

from bench.tunnel.command import run
from bench.tunnel.namespace import Namespace


class Typed:
    """`own` is a shell's list of commands that makes the directories, and the last of which says `ready`."""

    def __init__(self, name: str, pywg: str, own: str) -> None:
        self.namespace = Namespace(name)
        self._own = own
        self._path = f"{Path(pywg).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
        self._holder: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Makes it, without a link to anywhere."""
        self.namespace.create()
        argv = ["unshare", "--mount", "sh", "-c", f"{self._own} && exec sleep infinity"]
        self._holder = self.namespace.start(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"

    def type(self, text: str, **environment: str) -> str:
        """Runs lines in a shell, up to the first that fails."""
        assert self._holder is not None
        into = ("nsenter", f"--target={self._holder.pid}", "--mount", "--net")
        return run(*into, "sh", "-ec", text, env={**os.environ, "PATH": self._path, **environment})
