"""What the tests of installations share: a story that is shown as it is played, two machines, and files for both."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench.tunnel.command import run
from ship.run import DIST
from tests.first_minutes import debian
from tests.first_minutes.__main__ import FAR, FILE, NEAR
from tests.first_minutes.passes import Story
from tests.first_minutes.terminal import Shell


class Told(Story):
    """A story that is shown as it is played."""

    def __init__(self) -> None:
        super().__init__()
        self.part("")

    def do(self, shell: Shell, command: str, *, says: str = "", status: int = 0, again: int = 0) -> str:
        """Types a command, and returns what stands on the screen then."""
        played = self.type(shell, command, says=says, status=status, again=again)
        lines = played.screen.splitlines()
        print(f"{played.prompt} {command}\n" + "".join(f"    {line}\n" for line in lines[-8:]), end="", flush=True)
        return played.screen


def newest(pattern: str) -> Path:
    """Of the files in dist/. SystemExit: there is none."""
    found = sorted(DIST.glob(pattern), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SystemExit(f"there is no dist/{pattern}: `make dist` and `make deb` make them")
    return found[-1]


def put(shell: Shell, *files: Path) -> None:
    """Into the home of the machine's root."""
    for file in files:
        (shell.root / "root" / file.name).write_bytes(file.read_bytes())


def files() -> list[str]:
    """A wg0.conf for Berlin, and one for Paris."""
    private = [run("wg", "genkey").strip() for _ in range(2)]
    public = [run("wg", "pubkey", stdin=key).strip() for key in private]
    return [
        FILE.format(
            private=private[own],
            number=own + 1,
            other=other,
            public=public[1 - own],
            endpoint=endpoint,
            others=2 - own,
        )
        for own, (other, endpoint) in enumerate((("paris", FAR), ("berlin", NEAR)))
    ]


@contextlib.contextmanager
def two_machines(made: debian.Debian, over: str = "installed") -> Iterator[tuple[Shell, Shell]]:
    """Berlin and Paris, over what is installed there, each with its wg0.conf."""
    with (
        debian.two_networks(NEAR, FAR) as (here, there),
        made.machine("berlin", over=over, namespace=here) as berlin,
        made.machine("paris", over=over, namespace=there) as paris,
    ):
        for shell, text in zip((berlin, paris), files(), strict=True):
            path = shell.root / "etc" / "wireguard" / "wg0.conf"
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(text)
        yield berlin, paris
