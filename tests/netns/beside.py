"""Measures what each daemon gives up, keeps in memory and shows on the wire, and writes docs/beside.md.

    python -m tests.netns.beside [NAME ...]   by default pywg, and the others of bench.tunnel that are there

Needs root. A row is a function of a running tunnel with that daemon at both ends; the kernel's WireGuard, which has no
process to look into, stands in the rows by reading alone.
"""

import contextlib
import os
import re
import resource
import signal
import socket
import struct
import sys
import tempfile
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.tunnel.builds import NotInstalledError
from bench.tunnel.command import CommandError
from bench.tunnel.implementations import build, version
from bench.tunnel.lab import Lab
from bench.tunnel.site import Keys, Site, poll
from tests import process_memory

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "beside.md"
NAMES = ("pywg", "wireguard-go-new", "boringtun", "gotatun")
INITIATIONS = 3
HEADER = """# Beside other implementations

Written by `python -m tests.netns.beside`. Every daemon is started by root with its default options (boringtun and
gotatun, which would change to the user of a login session, as root), with a tunnel of two ends. "Copies" are those that
root finds in the process's writable memory, raw, in hexadecimal or base64; of pywg without its locked arenas, which are
there to hold the keys. What a daemon does on the wire, test by test, stands in [drop-in.md](drop-in.md).

"""
READ_TITLES = ("pywg", "wireguard-go", "boringtun, gotatun", "Linux")
BY_READING = {
    "a stranger's bytes are parsed by": (
        "C made by Cython, without bounds checks; sanitizers, fuzzers and models look for what a compiler does not",
        "Go, bounds-checked",
        "Rust, bounds-checked, with `unsafe` around system calls",
        "C",
    ),
    "in": (
        "a process that opens no file and has few system calls",
        "a process of root's",
        "a process of root's, or of the user of the login session",
        "the kernel",
    ),
    "the handshake's Curve25519": ("OpenSSL", "Go's own", "`x25519-dalek`", "formally verified code"),
    "audits by others": (
        "none",
        "none known to us",
        "gotatun 0.2.0, early in 2026: two faults of low weight, both from boringtun (session indices that could be "
        "guessed; padding left out)",
        "the protocol is proven in several models",
    ),
}
FOOTER = """
pywg's own tests for both faults of that audit: `tests/core/test_keypairs_and_indices.py` and
`tests/fastpath/test_plane_seal.py`.
"""


@dataclass
class Tunnel:
    """A running one, and what it was set up with."""

    near: Site
    private: bytes
    preshared: bytes
    peer: str

    def threads(self) -> Iterator[dict[str, str]]:
        """The fields of /proc/PID/task/TID/status of each thread."""
        for status in Path(f"/proc/{self.near.pid}/task").glob("*/status"):
            yield dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)

    def copies(self, key: bytes) -> int:
        return sum(process_memory.copies(self.near.pid, *process_memory.spellings(key)))


def capabilities(tunnel: Tunnel) -> str:
    effective = max((int(thread["CapEff"], 16) for thread in tunnel.threads()), key=int.bit_count)
    return "none" if not effective else f"{effective.bit_count()}"


def new_privileges(tunnel: Tunnel) -> str:
    return _yes(all(thread["NoNewPrivs"].strip() == "1" for thread in tunnel.threads()))


def seccomp(tunnel: Tunnel) -> str:
    filtered = [thread["Seccomp"].strip() == "2" for thread in tunnel.threads()]
    return f"{sum(filtered)} of {len(filtered)}"


def locked(tunnel: Tunnel) -> str:
    (kib,) = {int(thread["VmLck"].split()[0]) for thread in tunnel.threads()}
    return f"{kib} KiB"


def private_in_use(tunnel: Tunnel) -> str:
    return str(tunnel.copies(tunnel.private))


def preshared_in_use(tunnel: Tunnel) -> str:
    return str(tunnel.copies(tunnel.preshared))


def private_after_change(tunnel: Tunnel) -> str:
    other = tunnel.near.secret_file("new", Keys.generate().private)
    return _after(tunnel, tunnel.private, "private-key", other)


def preshared_after_removal(tunnel: Tunnel) -> str:
    return _after(tunnel, tunnel.preshared, "peer", tunnel.peer, "remove")


def _after(tunnel: Tunnel, key: bytes, *change: str) -> str:
    try:
        tunnel.near.wg("set", tunnel.near.interface, *change)
    except CommandError:
        return "the change is refused"
    return str(tunnel.copies(key))


def indices(tunnel: Tunnel) -> str:
    """Bits in which the sender indices of some initiations to one peer differ: 24 of 32 where three are random."""
    near = tunnel.near
    with near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(20)
        peer = ("peer", Keys.generate().public, "endpoint", f"127.0.0.1:{listener.getsockname()[1]}")
        near.wg("set", near.interface, *peer, "persistent-keepalive", "1", "allowed-ips", "10.99.0.1/32")
        seen: list[int] = []
        while len(seen) < INITIATIONS:
            message = listener.recv(1500)
            if message[:4] == b"\1\0\0\0":
                seen.append(struct.unpack_from("<I", message, 4)[0])
    varied = 0
    for one in seen:
        varied |= one ^ seen[0]
    return str(varied.bit_count())


def core_dump(tunnel: Tunnel) -> str:
    """The last: it ends the daemon."""
    daemon = tunnel.near.daemon
    assert daemon is not None
    os.kill(daemon.pid, signal.SIGABRT)
    _, status = os.waitpid(daemon.pid, 0)
    daemon.returncode = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return _yes(os.WIFSIGNALED(status) and os.WCOREDUMP(status))


ROWS: tuple[tuple[str, Callable[[Tunnel], str]], ...] = (
    ("capabilities that a thread still has, once ready", capabilities),
    ("all threads without new privileges (`no_new_privs`)", new_privileges),
    ("threads with a filter of system calls", seccomp),
    ("locked memory", locked),
    ("copies of the private key, in use", private_in_use),
    ("copies of the preshared key, in use", preshared_in_use),
    ("bits in which the session indices of three handshakes differ; 24 of 32 are expected of random ones", indices),
    ("copies of the private key, once another is set", private_after_change),
    ("copies of the preshared key, once its peer is removed", preshared_after_removal),
    ("a crash leaves a core file with the memory, where the limits allow one", core_dump),
)


def measure(name: str) -> dict[str, str]:
    """Row -> what was found. Raises CommandError and TimeoutError."""
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place), Lab(name, name, psk=True) as lab:
        assert lab.preshared_key is not None
        lab.establish()
        tunnel = Tunnel(lab.near, b64decode(lab.near.keys.private), b64decode(lab.preshared_key), lab.far.keys.public)
        if name == "pywg":
            poll(lambda: tunnel.near.stats().get("sandbox_seccomp") == "1", "the sandbox is closed")
        return {title: row(tunnel) for title, row in ROWS}


def table(titles: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    lines = [f"| | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    return lines + [f"| {title} | {' | '.join(cells)} |" for title, cells in rows]


def document(names: Sequence[str], versions: Sequence[str], found: Sequence[dict[str, str]]) -> str:
    lines = [f"- {name}: {text}" for name, text in zip(names, versions, strict=True)]
    lines.append(f"- measured on {datetime.now(UTC):%d %B %Y}")
    lines += ["", "## Measured", "", *table(names, [(title, [one[title] for one in found]) for title, _ in ROWS])]
    lines += ["", "## By reading", "", *table(READ_TITLES, BY_READING.items())]
    return HEADER + "\n".join(lines) + "\n" + FOOTER


def _yes(condition: bool) -> str:
    return "yes" if condition else "no"


def main(given: Sequence[str]) -> int:
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    names = []
    for name in given or NAMES:
        try:
            build(name)
        except NotInstalledError as error:
            print(f"without {name}: {error}", file=sys.stderr)
            continue
        names.append(name)
    versions = [re.sub(r"\s+", " ", version(build(name))) for name in names]
    DOCUMENT.write_text(document(names, versions, [measure(name) for name in names]))
    print(DOCUMENT.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
