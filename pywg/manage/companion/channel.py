"""What the worker may ask of the keeper: a stream of events, where peers are, an endpoint or a try of one, hooks.

Each is one datagram of JSON on a socket pair, and so is an answer, but that one may need several. The keeper believes
none of it: it checks each question, and ends a worker that asks another, or that takes no answer.
"""

import json
import socket
from typing import Any

from pywg.config.addresses import format_sock_addr, parse_sock_addr
from pywg.config.model import SockAddr
from pywg.config.uapi_event_reader import MOST_EVENT, Event
from pywg.errors import ConfigError

_MOST = 4 * MOST_EVENT
_PIECE = 1 << 16
"""Bytes of an answer in one datagram. The kernel takes none that is larger than a socket's buffer: where two thousand
peers are does not fit."""
_MORE, _LAST = b"+", b"."
"""What a piece begins with."""
_TAKES_WITHIN_S = 5.0
"""Seconds in which the worker, which waits for it, has to take an answer."""


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
        answer = bytearray()
        more = True
        while more:
            piece = self._sock.recv(1 + _PIECE)
            if not piece:
                raise EOFError
            answer += piece[1:]
            more = piece[:1] == _MORE
        return json.loads(answer)


class KeeperEnd:
    """The keeper's end. Raises OSError where the worker takes nothing."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(_TAKES_WITHIN_S)  # or the keeper would wait for ever, and look after no hook

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
        text = json.dumps(what).encode()
        last = (len(text) - 1) // _PIECE * _PIECE
        for at in range(0, len(text), _PIECE):
            self.sock.send((_LAST if at == last else _MORE) + text[at : at + _PIECE])

    def give(self, stream: socket.socket | None) -> None:
        """Hands over a stream, or says that there is none."""
        if stream is None:
            self.sock.send(b"none")
        else:
            socket.send_fds(self.sock, [b"one"], [stream.fileno()])
