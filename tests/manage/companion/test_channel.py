"""What the keeper does with what a worker asks that was taken over: nothing but what the file allows."""

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from pywg.config.addresses import format_sock_addr
from pywg.config.model import DeviceChange, PeerChange
from pywg.config.uapi_event_reader import Event
from pywg.manage import client
from pywg.manage.companion import channel
from pywg.manage.companion.channel import BadQuestionError, KeeperEnd, WorkerEnd
from pywg.manage.companion.keeper import Keeper
from pywg.manage.companion.settings import PeerSetting, Settings
from pywg.runtime.base.log import Level, Log
from tests.lines import StreamOutput

KEY, OTHER = bytes([1]) * 32, bytes([2]) * 32
MOVE = {"do": "move", "peer": KEY.hex(), "endpoint": "192.0.2.1:7"}


class Both:
    def __init__(self) -> None:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.keeper_end, self.worker = KeeperEnd(near), far
        settings = Settings([PeerSetting(KEY, "", [("a", 1), ("b", 2)])])
        log = Log("wg0", Level.SILENT, output=StreamOutput())
        self.keeper = Keeper("wg0", settings, log, account=None, hook_account=None)

    def ask(self, question: object) -> object:
        """What the keeper answers."""
        self.worker.send(question if isinstance(question, bytes) else json.dumps(question).encode())
        assert self.keeper._answer(self.keeper_end)
        answer = self.worker.recv(1 << 16)
        assert answer[:1] == b"."
        return json.loads(answer[1:])


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Iterator[Both]:
    both = Both()
    yield both
    both.keeper_end.sock.close()
    both.worker.close()


@pytest.mark.parametrize(("what", "attribute"), [("move", "endpoint"), ("probe", "probe_endpoint")])
def test_an_endpoint_is_set_or_tried_of_a_peer_that_has_several_alone(
    both: Both, monkeypatch: pytest.MonkeyPatch, what: str, attribute: str
) -> None:
    changes: list[DeviceChange] = []
    monkeypatch.setattr(client, "change", lambda interface, change: changes.append(change))
    assert both.ask({**MOVE, "do": what}) is True
    there = (bytes([192, 0, 2, 1]), 7, 0)
    assert changes == [DeviceChange(peers=[PeerChange(KEY, update_only=True, **{attribute: there})])]  # type: ignore[arg-type]
    with pytest.raises(BadQuestionError):
        both.ask({**MOVE, "do": what, "peer": OTHER.hex()})
    assert len(changes) == 1


@pytest.mark.parametrize(
    "question",
    [
        *(b"x", b"[]", b"1", b"null", b"{}", b"\xff", b"[" * 100_000, b'{"do": NaN}'),
        *({"do": "get"}, {"do": "stream", "more": 1}, {"do": ["stream"]}, {**MOVE, "more": 1}, {**MOVE, "peer": 5}),
        *({**MOVE, "peer": "zz"}, {**MOVE, "endpoint": "gw.test:1"}, {**MOVE, "endpoint": "192.0.2.1:1\nremove=true"}),
        {"do": "hook", "event": "x", "time": 1.0, "facts": {"a": 1}},
        {"do": "hook", "event": "x", "time": "1", "facts": {}},
        {"do": "hook", "event": "x", "time": 1.0, "facts": [["a", "b"]]},
    ],
)
def test_any_other_question_ends_the_worker(both: Both, question: object) -> None:
    with pytest.raises(BadQuestionError):
        both.ask(question)


def test_the_end_of_the_worker_is_seen(both: Both) -> None:
    both.worker.close()
    assert not both.keeper._answer(both.keeper_end)


def test_both_ends_understand_each_other() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        keeper, worker = KeeperEnd(near), WorkerEnd(far)
        keeper.answer(True)
        worker.hook(Event("handshake", 1.0, {"public_key": "ab"}))
        assert keeper.question() == {"do": "hook", "event": Event("handshake", 1.0, {"public_key": "ab"})}
        keeper.answer(True)
        assert worker.move(KEY, (bytes([192, 0, 2, 1]), 7, 0))
        assert keeper.question() == {"do": "move", "peer": KEY, "endpoint": (bytes([192, 0, 2, 1]), 7, 0)}
        keeper.give(None)
        assert worker.stream() is None
        assert keeper.question() == {"do": "stream"}
        one, other = socket.socketpair()
        with one, other:
            keeper.give(one)
            given = worker.stream()
        assert given is not None
        given.close()
        near.close()
        with pytest.raises((EOFError, OSError)):
            worker.endpoints()


@pytest.mark.parametrize("peers", [0, 1, 600, 10_000])
def test_an_answer_is_whole_however_many_peers_it_names(peers: int) -> None:
    """Those of a mesh's hub are more than one datagram takes."""
    wanted = {number.to_bytes(32, "big"): (bytes([192, 0, 2, 1]), 51820, 0) for number in range(peers)}
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        keeper = KeeperEnd(near)

        def answer() -> None:
            assert keeper.question() == {"do": "endpoints"}
            keeper.answer({key.hex(): format_sock_addr(there) for key, there in wanted.items()})

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            assert WorkerEnd(far).endpoints() == wanted
        finally:
            far.close()
            thread.join()


def test_a_worker_that_takes_no_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was taken over: the keeper, which runs hooks, must not wait for it."""
    monkeypatch.setattr(channel, "_TAKES_WITHIN_S", 0.01)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        keeper = KeeperEnd(near)

        def answer_for_ever() -> None:
            while True:
                keeper.answer("x" * 1000)

        with pytest.raises(TimeoutError):
            answer_for_ever()
