"""Completion in real shells, at a terminal: what Tab makes of a line is what a command then gets as its arguments."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.manual import COMPLETION
from tests.requirements import require_root, require_tool

_OWN = (
    "for d in /run/wireguard /etc/wireguard; do mkdir -p $d && mount -t tmpfs none $d; done; "
    'touch /run/wireguard/running0.sock /etc/wireguard/written0.conf; cd "$1" && touch here0.conf && shift && exec "$@"'
)
"""Directories of its own, with an interface that runs, a file where files belong, and one where the shell is."""
_SAYS = "pywg() { echo \"<$*>\"; }; PS1='$ '; PS2=; echo rea''dy\n"
_SHELLS = {
    "bash": ("bash --norc --noprofile -i", f"source {COMPLETION}/pywg; {_SAYS}"),
    "zsh": (
        "zsh -f -i",
        f"fpath=({COMPLETION} $fpath); autoload -Uz compinit; compinit -u -D; bindkey '^I' complete-word; {_SAYS}",
    ),
}
_PATIENCE_S = 60.0


class Shell:
    """One that has loaded the completion."""

    def __init__(self, name: str, folder: Path) -> None:
        command, begin = _SHELLS[name]
        self._terminal, theirs = pty.openpty()
        environment = {"TERM": "dumb", "HOME": str(folder), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        argv = ["unshare", "--mount", "sh", "-c", _OWN, "sh", str(folder), *command.split()]
        self._process = subprocess.Popen(
            argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)
        self._type(begin, "ready")

    def complete(self, line: str) -> str:
        """The arguments that `pywg` gets when this line is typed, then Tab, then Return."""
        said = self._type(f"{line}\t\n", ">")
        return said[said.rindex("<") + 1 : said.rindex(">")]

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)

    def _type(self, text: str, until: str) -> str:
        os.write(self._terminal, text.encode())
        seen, end = "", time.monotonic() + _PATIENCE_S
        while until not in seen:
            assert select.select([self._terminal], [], [], max(end - time.monotonic(), 0))[0], seen
            seen += os.read(self._terminal, 65536).decode()
        return seen


@pytest.fixture(scope="module", params=_SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    require_root()
    require_tool(request.param)
    made = Shell(request.param, tmp_path_factory.mktemp(request.param))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ("genk", "genkey"),
        ("stats --j", "stats --json"),
        ("run --drop", "run --drop-net-admin"),
        ("init si", "init site-to-site"),
        ("stats run", "stats running0"),
        ("show run", "show running0"),
        ("log run", "log running0"),
        ("log running0 deb", "log running0 debug"),
        ("help ini", "help init"),
        ("metrics --names /etc/passw", "metrics --names /etc/passwd"),
        ("up wri", "up written0"),
        ("reload wri", "reload written0"),
        ("check her", "check here0.conf"),
        ("doctor wri", "doctor written0"),
        ("down run", "down running0"),
        ("ping run", "ping running0"),
        ("ping -I run", "ping -I running0"),
        ("stats nonesuch", "stats nonesuch"),
        ("up nonesuch", "up nonesuch"),
    ],
)
def test_tab_completes(shell: Shell, line: str, arguments: str) -> None:
    assert shell.complete(f"pywg {line}") == arguments
