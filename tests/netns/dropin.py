"""What the drop-in tests share: who is judged, the UAPI spoken by hand, moments of load.

A drop-in test takes `subject`, the name of a daemon, and must be able to hold for any that is called as wireguard-go
is. Its marks say what it covers: `dropin("15", ...)` names points of the list in docs/drop-in.md, `known_bug("...")` a
fault that some implementation shipped, and `lacks(daemon, why)` a daemon that is known not to hold it.
"""

import base64
import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import pytest

from bench.tunnel.command import CommandError, run
from bench.tunnel.implementations import find
from bench.tunnel.lab import Lab
from bench.tunnel.namespace import Namespace
from bench.tunnel.site import Site, poll
from tests.processes import read

from .conftest import OpenLab

OURS = "pywg"
LONG = os.environ.get("PYWG_LONG") == "1"
ANSWERS_WITHIN_S = 20.0
RESUMES_WITHIN_S = 15.0
INITIATIONS_APART_S = 0.1
"""Seconds after which a peer's next initiation is taken: of more than 20 a second one is not, and none of the same 17
ms as the last, for their timestamps are no more exact. Then it is sent again after 5 s."""
UNKNOWN_KEY = "9CFtwQAAgC2/Vg8kr1ZUWWwFe0Vps9r0H5jYkXmJPwE="


def parametrize_subject(metafunc: pytest.Metafunc) -> None:
    """The hook pytest_generate_tests of the drop-in modules: each test once with every daemon among the --pairs."""
    if "subject" not in metafunc.fixturenames:
        return
    lacks = {mark.args[0]: mark.args[1] for mark in metafunc.definition.iter_markers("lacks")}
    names = sorted({name for pair in metafunc.config.getoption("pairs").split(",") for name in pair.split(":")})
    subjects = []
    for name in names:
        why = lacks.get(name) or lacks.get(name.removesuffix("-new"))
        subjects.append(pytest.param(name, marks=[pytest.mark.xfail(reason=why, strict=False)] if why else []))
    metafunc.parametrize("subject", subjects)


def scaled(quick: int, full: int) -> int:
    """How often or how long: `full` with PYWG_LONG=1 in the environment, otherwise `quick`."""
    return full if LONG else quick


def tunnel(open_lab: OpenLab, subject: str, **options: object) -> Lab:
    """An established tunnel with the subject at both ends."""
    lab = open_lab(subject, subject, **options)
    lab.establish()
    return lab


def hexkey(key: str) -> str:
    """wg's base64 as the UAPI's hexadecimal."""
    return base64.b64decode(key).hex()


class Client:
    """One connection to a daemon's UAPI socket."""

    def __init__(self, site: Site) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(site.uapi_socket))
        self.socket.settimeout(ANSWERS_WITHIN_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.socket.close()

    def reply(self) -> str:
        """The next reply, with its errno line; what there is when the daemon hangs up."""
        received = bytearray()
        while not (received.endswith(b"\n\n") and b"errno=" in received[-16:]):
            chunk = self.socket.recv(1 << 20)
            if not chunk:
                break
            received += chunk
        return received.decode()

    def ask(self, operation: str) -> str:
        """Sends one operation, with its blank line, and returns the reply."""
        self.socket.sendall(operation.encode())
        return self.reply()


def ask(site: Site, operation: str) -> str:
    """One operation on a connection of its own."""
    with Client(site) as client:
        return client.ask(operation)


def set_(site: Site, *lines: str) -> int:
    """A set operation with these lines; the errno that it was answered with."""
    reply = ask(site, "\n".join(["set=1", *lines, "", ""]))
    assert reply.startswith("errno="), reply
    return int(reply.removeprefix("errno="))


def get(site: Site, within_s: float = ANSWERS_WITHIN_S) -> str:
    """What a get operation answers."""
    with Client(site) as client:
        client.socket.settimeout(within_s)
        reply = client.ask("get=1\n\n")
    assert reply.endswith("errno=0\n\n"), reply
    return reply


def peers(site: Site) -> list[dict[str, list[str]]]:
    """The peers that a get operation shows, each with the values of its keys in the order they came."""
    found: list[dict[str, list[str]]] = []
    for line in get(site).splitlines():
        name, _, value = line.partition("=")
        if name == "public_key":
            found.append({})
        if found and name not in ("", "errno"):
            found[-1].setdefault(name, []).append(value)
    return found


def nft(site: Site, *rules: str) -> None:
    """Loads nftables commands in the site's namespace."""
    site.namespace.run("nft", "-f", "-", stdin="\n".join(rules) + "\n")


def answers(site: Site, address: str, within_s: float = 0.3) -> bool:
    """Whether one ping is answered."""
    with contextlib.suppress(CommandError):
        return bool(site.namespace.run("ping", "-n", "-c", "1", "-W", f"{within_s:g}", address))
    return False


def answers_one(site: Site, address: str) -> bool:
    """Whether the only ping that is sent is answered, be it late: for what has to be so at once, on a busy machine."""
    return answers(site, address, ANSWERS_WITHIN_S)


def resumes(site: Site, address: str, within_s: float = RESUMES_WITHIN_S) -> None:
    """Polls until a ping is answered."""
    poll(lambda: answers(site, address), f"{address} answers {site.name}", within_s)


def kick(site: Site, address: str, size: int = 4) -> None:
    """Sends one UDP datagram of `size` bytes into the tunnel, and doesn't wait for anything."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with site.namespace.socket(family, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
        sender.sendto(b"kick".ljust(size)[:size], (address, 9))


def stays(condition: Callable[[], bool], what: str, for_s: float) -> None:
    """Asserts that `condition` holds throughout `for_s` seconds."""
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        assert condition(), what
        time.sleep(0.05)


def public_keys(count: int) -> list[str]:
    """Public keys in wg's base64 that nobody has the private half of."""
    return [base64.b64encode(secrets.token_bytes(31) + b"\x40").decode() for _ in range(count)]


def key_pair() -> tuple[str, str]:
    """(private, public) in wg's base64."""
    private = run("wg", "genkey").strip()
    return private, run("wg", "pubkey", stdin=private).strip()


@contextlib.contextmanager
def repeated(action: Callable[[], object]) -> Iterator[None]:
    """Runs `action` in a thread again and again while the block lasts, and at least once.

    Its exception is raised at the end.
    """
    stop = threading.Event()

    def body() -> None:
        while True:
            action()
            if stop.is_set():
                return

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(body)
        try:
            yield
        finally:
            stop.set()
        running.result()


@contextlib.contextmanager
def second_daemon(site: Site, suffix: str = "n") -> Iterator[Site]:
    """Another interface of the same kind in the site's namespace, running and not configured."""
    assert site.implementation is not None
    other = Site(
        site.number,
        namespace=site.namespace,
        interface=site.interface + suffix,
        implementation=site.implementation,
        directory=site.log.parent,
    )
    other.log = site.log.with_name(f"{site.name}-{suffix}.log")
    try:
        other.start()
        yield other
    finally:
        if other.daemon is not None:
            other.daemon.kill()
            other.daemon.wait()
        other.uapi_socket.unlink(missing_ok=True)


def daemon_pids(namespace: Namespace) -> list[int]:
    """The processes in the namespace but those that remove the sockets of daemons of other users."""
    names = {pid: read(pid, "comm") for pid in namespace.pids()}
    return [pid for pid, name in names.items() if name not in (b"", b"pywg-remover\n")]


def program(subject: str) -> str:
    """The path of the daemon's program, for those who call it themselves."""
    return find(subject).command[0]


def udp_ports(site: Site) -> list[int]:
    """The local ports of the IPv4 UDP sockets in the site's namespace."""
    rows = site.namespace.run("cat", "/proc/net/udp").splitlines()[1:]
    return [int(row.split()[1].rpartition(":")[2], 16) for row in rows]
