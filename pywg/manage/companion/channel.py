"""What the worker may ask of the keeper: a stream of events, where peers are, an endpoint or a try of one, hooks.

Each is one datagram of JSON on a socket pair. The keeper believes none of it: it checks each question, and ends a
worker that asks another.
"""

import json
import socket
from typing import Any

from pywg.config.addresses import format_sock_addr, parse_sock_addr
from pywg.config.model import SockAddr
from pywg.config.uapi_event_reader import MOST_EVENT, Event
from pywg.errors import ConfigError

_MOST = 4 * MOST_EVENT


class BadQuestionError(Exception):
    """The worker has asked what it never asks."""


class WorkerEnd:
    """The worker's end. Raises EOFError when the keeper is gone."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def stream(self) -> socket.socket | None:
        """A connection on which the daemon tells events; None while no daemon answers."""
        self._sock.send(json.dumps({"do": "stream"}).encode())
        data, fds, _, _ = socket.recv_fds(self._sock, 16, 1)
        if not data:
            raise EOFError
        return socket.socket(fileno=fds[0]) if fds else None

    def endpoints(self) -> dict[bytes, SockAddr] | None:
        """Where the peers are that have settings; None when the daemon does not say."""
        given = self._ask({"do": "endpoints"})
        if given is None:
            return None
        return {bytes.fromhex(key): parse_sock_addr(text) for key, text in given.items()}

    def move(self, public_key: bytes, endpoint: SockAddr) -> bool:
        """Sets a peer's endpoint. False when the daemon does not."""
        return bool(self._ask({"do": "move", "peer": public_key.hex(), "endpoint": format_sock_addr(endpoint)}))

    def probe(self, public_key: bytes, endpoint: SockAddr) -> None:
        """Has the daemon try whether a peer answers there."""
        self._ask({"do": "probe", "peer": public_key.hex(), "endpoint": format_sock_addr(endpoint)})

    def hook(self, event: Event) -> None:
        """Has the hooks of an event run."""
        self._ask({"do": "hook", "event": event.name, "time": event.time, "facts": event.facts})

    def _ask(self, question: dict[str, Any]) -> Any:
        self._sock.send(json.dumps(question).encode())
        answer = self._sock.recv(1 << 24)
        if not answer:
            raise EOFError
        return json.loads(answer)


class KeeperEnd:
    """The keeper's end."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def question(self) -> dict[str, Any] | None:
        """One that was checked for its form; None when the worker is gone. Raises BadQuestionError."""
        data = self.sock.recv(_MOST)
        if not data:
            return None
        try:
            given = json.loads(data)
            match given:
                case {"do": "stream" | "endpoints"} if len(given) == 1:
                    return given  # type: ignore[no-any-return]
                case {"do": "move" | "probe" as what, "peer": str(key), "endpoint": str(text)} if len(given) == 3:
                    return {"do": what, "peer": bytes.fromhex(key), "endpoint": parse_sock_addr(text)}
                case {"do": "hook", "event": str(name), "time": float(at), "facts": dict(facts)} if len(given) == 4:
                    if all(isinstance(one, str) for fact in facts.items() for one in fact):
                        return {"do": "hook", "event": Event(name, at, facts)}
        except (ValueError, ConfigError, RecursionError):
            pass
        raise BadQuestionError

    def answer(self, what: object) -> None:
        """Of all but a stream."""
        self.sock.send(json.dumps(what).encode())

    def give(self, stream: socket.socket | None) -> None:
        """Hands over a stream, or says that there is none."""
        if stream is None:
            self.sock.send(b"none")
        else:
            socket.send_fds(self.sock, [b"one"], [stream.fileno()])
