"""Faults of pywg made on purpose, and `python -m tests.fuzz.guided.planted [--seconds S] [FAULT...]`: are they found?

Each is looked for by its target, which begins with the kept corpus. What is printed is how long that took. Status 1:
one was not found in time.
"""

import argparse
import contextlib
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.fuzz import corpus
from tests.fuzz.fuzzer import ROOT
from tests.fuzz.guided.replaced import replaced


@dataclass(frozen=True)
class Fault:
    """`plant` is a context in which pywg has the fault."""

    target: str
    plant: Callable[[], contextlib.AbstractContextManager[None]]


def split_too_late() -> contextlib.AbstractContextManager[None]:
    """The search for the blank line goes on one byte too late: it is missed when it comes in two pieces."""
    from pywg.runtime.uapi.request_buffer import RequestBuffer

    def operation_len(self: RequestBuffer) -> int | None:
        found = self.data.find(b"\n\n", self._searched, self.used)
        if found < 0:
            self._searched = self.used
            return None
        return found + 2

    return replaced(RequestBuffer, operation_len=operation_len)


def keeps_allowed_ips() -> contextlib.AbstractContextManager[None]:
    """replace_allowed_ips is forgotten."""
    from pywg.runtime.device.changes import Changes

    apply_peer = Changes._apply_peer

    def without(self: Changes, change: Any, now: float) -> None:
        change.replace_allowed_ips = False
        apply_peer(self, change, now)

    return replaced(Changes, _apply_peer=without)


def applies_before_it_refuses() -> contextlib.AbstractContextManager[None]:
    """A line that is refused has already taken effect: what comes before it is applied."""
    from pywg.config import uapi
    from pywg.config.model import DeviceChange
    from pywg.runtime.uapi import server

    def steps(request: Any) -> Any:
        change = DeviceChange()
        yield from uapi._read_set(request, change)
        return change

    return replaced(server, parse_set_steps=steps)


def state_before_authentication() -> contextlib.AbstractContextManager[None]:
    """A response that does not open ends the handshake that it names."""
    from pywg.core import handshake
    from pywg.errors import RemoteProtocolError

    consume = handshake.consume_response

    def clears(message: Any, it: Any, identity: Any) -> None:
        try:
            consume(message, it, identity)
        except RemoteProtocolError:
            it.clear()
            raise

    return replaced(handshake, consume_response=clears)


def repeat_accepted() -> contextlib.AbstractContextManager[None]:
    """An initiation with the timestamp of the last is taken again."""
    from pywg.core import handshake, tunnel

    consume = handshake.consume_initiation

    def forgets(message: Any, identity: Any, find: Callable[[bytes], Any], now: float) -> Any:
        def found(public_key: bytes) -> Any:
            it = find(public_key)
            if it is not None:
                it.latest_timestamp = bytes(12)
            return it

        return consume(message, identity, found, now)

    return replaced(tunnel, consume_initiation=forgets)


def liveness_lost() -> contextlib.AbstractContextManager[None]:
    """A handshake that was given up is not begun again, as its attempts are never counted anew."""
    from pywg.core.peer import Peer

    def want_handshake(self: Peer, now: float) -> None:
        if self.timers.attempts == 0:
            self.send_initiation(now)

    return replaced(Peer, want_handshake=want_handshake)


def wrong_line() -> contextlib.AbstractContextManager[None]:
    """A wrong entry of AllowedIPs is told of with the line after its own."""
    from pywg.config import wg_quick
    from pywg.errors import WgQuickError

    class LaterError(WgQuickError):
        def __init__(self, message: str, *, file: str, line: int, **place: Any) -> None:
            super().__init__(message, file=file, line=line + ("AllowedIPs" in message), **place)

    return replaced(wg_quick, WgQuickError=LaterError)


def flags_of_another_link() -> contextlib.AbstractContextManager[None]:
    """An answer to another question is taken for the one to ours."""
    from pywg.runtime.net.netlink import Questions

    put = Questions.put

    def takes_any(self: Questions, question: bytearray, form: Any) -> Any:
        receive = self.socket.recv

        def recv(length: int) -> bytes:
            data = receive(length)
            return data[:8] + self._sequence.to_bytes(4, sys.byteorder) + data[12:]

        with replaced(self.socket, recv=recv):
            return put(self, question, form)

    return replaced(Questions, put=takes_any)


def descriptor_of_any_number() -> contextlib.AbstractContextManager[None]:
    """The bound on numbers of descriptors is gone."""
    from pywg.runtime.daemon import options

    def number(name: str, text: str, least: int, most: int, wrong: str) -> int:
        return int(text)

    return replaced(options, _number=number)


def reply_without_bound() -> contextlib.AbstractContextManager[None]:
    """The client reads for as long as something comes."""
    from pywg.manage import client

    return replaced(client, _MOST_REPLY=1 << 40)


def subscriber_left_behind() -> contextlib.AbstractContextManager[None]:
    """The queue of a subscriber that has gone stays."""
    from pywg.runtime.base.feed import Subscription

    def close(self: Subscription) -> None:
        pass

    return replaced(Subscription, close=close)


def event_without_its_end() -> contextlib.AbstractContextManager[None]:
    """A blank line that comes in two pieces ends no event."""
    from pywg.config.uapi_event_reader import EventReader

    take = EventReader.take

    def forgets(self: EventReader, data: bytes) -> Any:
        if self._rest.endswith(b"\n") and data.startswith(b"\n"):
            data = data[1:]
        return take(self, data)

    return replaced(EventReader, take=forgets)


def descriptors_left_behind() -> contextlib.AbstractContextManager[None]:
    """What came with a handover that is refused stays open."""
    from pywg.runtime.daemon.take_over import Taking

    def close(self: Taking) -> None:
        self._sock.close()

    return replaced(Taking, close=close)


def descriptor_too_many() -> contextlib.AbstractContextManager[None]:
    """Descriptors that belong to nothing are passed over."""
    from pywg.runtime.daemon.take_over import Taking

    def all_are_taken(self: Taking, *, but: int = -1) -> None:
        self._fds = [fd for fd in self._fds if fd != but]

    return replaced(Taking, _all_are_taken=all_are_taken)


def further_pair_left_behind() -> contextlib.AbstractContextManager[None]:
    """Of the sockets that were taken over, those of the first shard alone are closed."""
    from pywg.runtime.net.sockets import Sockets

    close = Sockets.close

    def first_alone(self: Sockets) -> None:
        for sock in itertools.chain(*self.more):
            if sock is not None:
                sock.detach()
        close(self)

    return replaced(Sockets, close=first_alone)


def state_unchecked() -> contextlib.AbstractContextManager[None]:
    """The core takes any state of a peer."""
    from pywg.core.carried import CarriedPeer

    return replaced(CarriedPeer, check=lambda self, now: None)


FAULTS = {
    "descriptors left behind": Fault("handover", descriptors_left_behind),
    "descriptor too many": Fault("handover", descriptor_too_many),
    "further pair left behind": Fault("handover", further_pair_left_behind),
    "state unchecked": Fault("handover", state_unchecked),
    "subscriber left behind": Fault("uapi", subscriber_left_behind),
    "event without its end": Fault("client", event_without_its_end),
    "split too late": Fault("uapi", split_too_late),
    "keeps allowed ips": Fault("uapi", keeps_allowed_ips),
    "applies before it refuses": Fault("uapi", applies_before_it_refuses),
    "state before authentication": Fault("tunnel", state_before_authentication),
    "repeat accepted": Fault("tunnel", repeat_accepted),
    "liveness lost": Fault("tunnel", liveness_lost),
    "wrong line": Fault("wg_quick", wrong_line),
    "answer to another": Fault("netlink", flags_of_another_link),
    "descriptor of any number": Fault("options", descriptor_of_any_number),
    "reply without bound": Fault("client", reply_without_bound),
}


@contextlib.contextmanager
def planted(name: str) -> Iterator[None]:
    """pywg has that fault, until the body ends."""
    with FAULTS[name].plant():
        yield


def found_after(name: str, seconds: float, *, kept: bool) -> float | None:
    """Seconds of wall time until its target has found it; None: not within so many."""
    target = FAULTS[name].target
    with tempfile.TemporaryDirectory() as empty:
        options = [f"-max_total_time={seconds:.0f}", f"-artifact_prefix={empty}/", "-verbosity=0", empty]
        options += [str(corpus.unpack(target))] if kept else []
        began = time.monotonic()
        command = [sys.executable, "-m", "tests.fuzz.guided.program", target, f"--planted={name}", *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        return time.monotonic() - began if done.returncode == 77 else None


def main(arguments: list[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided.planted", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each (default: 60)")
    parser.add_argument("--from-nothing", action="store_true", help="without the kept corpus")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=", ".join(FAULTS))
    given = parser.parse_args(arguments)
    missed = False
    for name in given.faults or FAULTS:
        took = found_after(name, given.seconds, kept=not given.from_nothing)
        print(f"{FAULTS[name].target}: {name}: {'not found' if took is None else f'{took:.0f} s'}", flush=True)
        missed |= took is None
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
