"""Names to addresses, with the time for which the answer holds.

Asks the hosts file first, then name servers by dnspython, which tells that time; without dnspython, or for a name that
it does not find, what the system asks.
"""

import contextlib
import os
import queue
import socket
import threading
from typing import Any

from pywg.manage.tunnel.resolve import numeric

HOSTS = "/etc/hosts"
SYSTEM_TTL_S = 60.0
"""For an answer of the system or the hosts file, which have no such time."""
LIFETIME_S = 5.0
"""Seconds for the name servers to answer."""
THREADS = 8
_MOST_HOSTS = 1 << 20

Answer = tuple[str, list[bytes], float]
"""Host, addresses, seconds for which they hold; no addresses: there is no answer."""

try:
    import dns.rdtypes.ANY.CNAME
    import dns.rdtypes.ANY.SOA
    import dns.rdtypes.IN.A
    import dns.rdtypes.IN.AAAA
    import dns.resolver as _dns

    _dns_error: type[Exception] = dns.exception.DNSException
except ImportError:
    _dns = None  # type: ignore[assignment]
    _dns_error = OSError


class Resolver:
    """Resolves several names at a time; `fd` becomes readable when answers are there, for `answers`."""

    def __init__(self) -> None:
        self._wanted: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._waiting = 0
        self.fd, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def ask(self, host: str) -> None:
        """Has a name resolved."""
        self._waiting += 1
        if len(self._threads) < min(self._waiting, THREADS):
            self._threads.append(threading.Thread(target=self._work, daemon=True))
            self._threads[-1].start()
        self._wanted.put(host)

    def answers(self) -> list[Answer]:
        """Those that have come."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 1 << 16)
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._answers.get_nowait())
        self._waiting -= len(found)
        return found

    def _work(self) -> None:
        while True:
            host = self._wanted.get()
            try:
                addresses, ttl = resolve(host)
            except Exception:  # noqa: BLE001 - whatever a name server can cause, it is no answer
                addresses, ttl = [], 0.0
            self._answers.put((host, addresses, ttl))
            with contextlib.suppress(BlockingIOError):
                os.write(self._wake, b"x")


def resolve(host: str, *, hosts: str = HOSTS) -> tuple[list[bytes], float]:
    """Addresses, IPv4 and IPv6, and seconds for which they hold. Raises OSError for none."""
    if found := in_hosts(host, hosts):
        return found, SYSTEM_TTL_S
    if _dns is not None:
        answer = _by_dns(host)
        if answer[0]:
            return answer
    return _by_system(host), SYSTEM_TTL_S


def in_hosts(host: str, path: str = HOSTS) -> list[bytes]:
    """What the hosts file says."""
    found: list[bytes] = []
    wanted = host.lower().rstrip(".")
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file.read(_MOST_HOSTS).splitlines():
            address, *names = line.partition("#")[0].split() or [""]
            if wanted in (name.lower().rstrip(".") for name in names) and (known := numeric((address, 1))) is not None:
                found.append(known[0])
    return found


def _by_dns(host: str) -> tuple[list[bytes], float]:
    """One family is enough: some servers refuse to say that there is none of the other."""
    resolver = _dns.Resolver()
    resolver.lifetime = LIFETIME_S
    found: list[bytes] = []
    ttls: list[int] = []
    for kind, family in (("A", socket.AF_INET), ("AAAA", socket.AF_INET6)):
        with contextlib.suppress(_dns_error):
            answer: Any = resolver.resolve(host, kind, search=True, raise_on_no_answer=False)
            if answer.rrset is not None:
                found += [socket.inet_pton(family, record.address) for record in answer.rrset]
                ttls.append(answer.chaining_result.minimum_ttl)
    return found, float(min(ttls, default=0))


def _by_system(host: str) -> list[bytes]:
    found = []
    for family, _, _, _, address in socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM):
        with contextlib.suppress(OSError):
            found.append(socket.inet_pton(family, str(address[0]).partition("%")[0]))
    return found
