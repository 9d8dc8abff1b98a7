"""Endpoints by name: all are asked for at once, each again and again as long as by wg(8), or until a signal comes.

Those that a companion is to look after are asked for once, and may have no address yet.
"""

import os
import queue
import socket
import threading
from collections.abc import Container, Iterable
from typing import TypeAlias

from pywg.config.addresses import V4_LEN
from pywg.config.model import SockAddr
from pywg.config.wg_quick import HostPort
from pywg.manage.tunnel.machine import Machine
from pywg.manage.tunnel.names import QuickFile

_RETRIES = "WG_ENDPOINT_RESOLUTION_RETRIES"
_MOST_RETRIES = 15
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _GROWTH = 1.0, 20.0, 1.2
_AT_ONCE = 16
_FOR_GOOD = (socket.EAI_NONAME, socket.EAI_FAIL, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
_MAPPED = bytes(10) + b"\xff\xff"

Addresses = dict[HostPort, SockAddr]
_Answers: TypeAlias = "queue.SimpleQueue[tuple[HostPort, SockAddr | OSError | str] | None]"


def numeric(endpoint: HostPort) -> SockAddr | None:
    """The address of an endpoint that is written as an address; None for a name."""
    try:
        return _ask(endpoint, socket.AI_NUMERICHOST)
    except OSError:
        return None


def resolve(
    endpoints: Iterable[HostPort], file: QuickFile, machine: Machine, *, later: Container[HostPort] = ()
) -> Addresses:
    """The address of each; of those in `later`, if there is one. Raises WgQuickError that names file, line and host."""
    found: Addresses = {}
    names: queue.SimpleQueue[HostPort | None] = queue.SimpleQueue()
    wanted = 0
    for endpoint in dict.fromkeys(endpoints):
        if (address := numeric(endpoint)) is not None:
            found[endpoint] = address
        else:
            names.put(endpoint)
            wanted += 1
    answers: _Answers = queue.SimpleQueue()
    ended = threading.Event()
    for _ in range(min(wanted, _AT_ONCE)):
        names.put(None)
        threading.Thread(target=_worker, args=(names, answers, ended, _retries(), later), daemon=True).start()
    try:
        while wanted:
            with machine.interrupts.waiting(lambda: answers.put(None)):
                told = answers.get()
            if told is None:
                continue
            endpoint, answer = told
            if isinstance(answer, str):
                machine.warn(str(file.error(f"{endpoint[0]}: {answer}", "Endpoint", _text(endpoint))))
                continue
            wanted -= 1
            if not isinstance(answer, OSError):
                found[endpoint] = answer
                continue
            why = f"{endpoint[0]!a} has no address: {answer.strerror or answer}"
            if endpoint not in later:
                raise file.error(why, "Endpoint", _text(endpoint))
            machine.warn(str(file.error(f"{why}; the companion goes on asking", "Endpoint", _text(endpoint))))
    finally:
        ended.set()
    return found


def _worker(
    names: "queue.SimpleQueue[HostPort | None]",
    answers: "_Answers",
    ended: threading.Event,
    retries: float,
    later: Container[HostPort],
) -> None:
    while not ended.is_set() and (endpoint := names.get()) is not None:
        pause, left = _FIRST_PAUSE_S, 0 if endpoint in later else retries
        while True:
            try:
                answers.put((endpoint, _ask(endpoint)))
                break
            except OSError as error:
                if error.errno in _FOR_GOOD or left <= 0 or ended.is_set():
                    answers.put((endpoint, error))
                    break
                answers.put((endpoint, f"{error.strerror}; trying again in {pause:.2f} s"))
            ended.wait(pause)
            pause, left = min(pause * _GROWTH, _LONGEST_PAUSE_S), left - 1


def _ask(endpoint: HostPort, flags: int = 0) -> SockAddr:
    """Raises OSError (socket.gaierror)."""
    host, port = endpoint
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP, flags=flags)
    except UnicodeError as error:
        raise OSError(socket.EAI_NONAME, "no name of a host") from error
    for family, _, _, _, address in answers:
        if family == socket.AF_INET:
            return socket.inet_pton(family, str(address[0])), port, 0
        if family == socket.AF_INET6:
            ip = socket.inet_pton(family, str(address[0]).partition("%")[0])
            if ip.startswith(_MAPPED):
                return ip[-V4_LEN:], port, 0
            return ip, port, int(address[3]) if len(address) > 3 else 0
    raise OSError(socket.EAI_NONAME, "no address of IPv4 or IPv6")


def _retries() -> float:
    text = os.environ.get(_RETRIES, "")
    if text == "infinity":
        return float("inf")
    return int(text) if text.isascii() and text.isdigit() else _MOST_RETRIES


def _text(endpoint: HostPort) -> str:
    host, port = endpoint
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
