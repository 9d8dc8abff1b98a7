"""The soak's own arithmetic: what is damaged, overtaken, unanswered or growing is found."""

import io
import json
import os
import random
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bench.soak import flows, watch
from bench.soak.watch import MIB, Sample, of_daemon, quarters, settled, slope_mib_h


def test_an_undamaged_datagram_has_its_number() -> None:
    data = flows.datagram(7, random.Random(1))
    assert flows.number_of(data) == 7
    for at in (0, 20, len(data) - 1):
        assert flows.number_of(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]) is None
    assert flows.number_of(data[:-1]) is None
    assert flows.number_of(b"") is None


@pytest.mark.parametrize(("numbers", "overtaken"), [([1, 2, 5, 6], 0), ([1, 3, 2, 4], 1), ([4, 1, 2, 5], 2)])
def test_what_comes_late_was_overtaken(numbers: list[int], overtaken: int) -> None:
    order = flows.Order()
    assert sum(order.note(number) for number in numbers) == overtaken


def test_an_outage_is_as_long_as_its_oldest_send_waits() -> None:
    outages = flows.Outages()
    for number in range(5):
        outages.sent(number, number * 1.0)
    outages.answered(0, 0.1)
    assert outages.longest_s == 0
    outages.answered(4, 4.1)
    assert outages.longest_s == pytest.approx(3.1)  # of number 1, which left at 1


def test_an_outage_that_has_not_ended_is_one() -> None:
    outages = flows.Outages()
    outages.sent(0, 10.0)
    outages.look(10.5)
    assert outages.longest_s == pytest.approx(0.5)
    outages.sent(1, 11.0)
    outages.look(12.5)
    assert outages.longest_s == pytest.approx(2.5)
    outages.answered(1, 13.0)
    outages.look(20.0)
    assert outages.longest_s == pytest.approx(3.0)


def samples(rise_mib_h: float, *, hours: float = 1.0, fds: int = 26) -> list[Sample]:
    """Some of a daemon that begins with 20 MiB; what it takes while it warms up is not counted."""
    count = 100
    return [
        Sample(n * hours * 36, round((20 + rise_mib_h * n * hours / count - 5 * (n < 10)) * MIB), fds, 3)
        for n in range(count + 1)
    ]


@pytest.mark.parametrize("rise", [0.0, 0.4, 3.0])
def test_slope(rise: float) -> None:
    assert slope_mib_h(settled(samples(rise))) == pytest.approx(rise, abs=0.01)


def test_verdicts() -> None:
    assert [one.holds for one in of_daemon("near", samples(0.4))] == [True, True, True]
    assert [one.holds for one in of_daemon("near", samples(0.6))] == [False, True, True]
    assert [one.holds for one in of_daemon("near", samples(9.0, hours=0.1))] == [None, True, True]
    another_thread = [*samples(0.0), Sample(3700, 20 * MIB, 26, 4)]
    assert [one.holds for one in of_daemon("near", another_thread)] == [True, True, False]
    leaking = [replace(one, fds=one.fds + number // 20) for number, one in enumerate(samples(0.0))]
    assert [one.holds for one in of_daemon("near", leaking)] == [True, False, True]
    clients = [replace(one, fds=one.fds + number % 3) for number, one in enumerate(samples(0.0))]
    assert [one.holds for one in of_daemon("near", clients)] == [True, True, True]


def test_the_slope_of_each_quarter_is_told() -> None:
    """Of memory that grows while it warms up alone, as an allocator's does."""
    warming = [replace(one, private_bytes=MIB * (20 + min(number, 25))) for number, one in enumerate(samples(0.0))]
    assert [round(slope_mib_h(part), 1) for part in quarters(warming)][1:] == [0.0, 0.0, 0.0]
    assert slope_mib_h(quarters(warming)[0]) > 10
    assert "0.00, 0.00, 0.00" in of_daemon("near", warming)[0].found


def test_a_sample_of_this_process() -> None:
    threads = threading.active_count()
    one = watch.sample(os.getpid(), 0.0)
    assert one.private_bytes > MIB
    assert one.fds > 2
    assert one.threads >= threads


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, io.StringIO]]:
    """A stream to a receiver, and what that prints."""
    said = io.StringIO()
    monkeypatch.setattr(flows.Teller, "tell", lambda self, now: said.write(json.dumps(vars(self._tally)) + "\n"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threading.Thread(target=flows.stream_to, args=(port,), daemon=True).start()
    while True:
        try:
            # From another address: at the same one, a socket that tries again and again meets itself in the end.
            connection = socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0))
            break
        except ConnectionRefusedError:
            continue
    with connection:
        yield connection, said


@pytest.mark.parametrize("damaged", [0, 1])
def test_a_damaged_block_is_found(receiver: tuple[socket.socket, io.StringIO], damaged: int) -> None:
    connection, said = receiver
    for number in range(3):
        block = bytes([number]) * 1000
        sent = b"other" + block[5:] if damaged and number == 1 else block
        connection.sendall(len(block).to_bytes(4, "big") + flows.digest(block) + sent)
    while True:
        lines = said.getvalue().splitlines()
        if lines and json.loads(lines[-1])["received"] == 3:
            break
    assert json.loads(lines[-1])["damaged"] == damaged
