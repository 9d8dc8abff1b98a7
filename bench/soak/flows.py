"""Traffic that knows what it lost: a process a flow's end, which prints a line of JSON a second.

`python -m bench.soak.flows ROLE ...`:

    stream-from ADDRESS PORT MBIT_S    TCP: blocks of 1 byte to 256 KiB, each with its digest
    stream-to PORT                     takes them, and compares every block
    probe-from ADDRESS PORT            UDP: numbered datagrams of every length, singly and in trains; waits for echoes
    probe-to PORT                      takes and echoes them

A line holds totals so far (Tally). Every byte is hashed at both ends. A datagram is overtaken when one of a greater
number of the same flow comes before it.
"""

import contextlib
import hashlib
import json
import random
import selectors
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field

BLOCK_MAX = 1 << 18
DIGEST_LEN = 16
HEADER_LEN = 4 + DIGEST_LEN
PROBE_EVERY_S = 0.02
TRAIN = 24  # datagrams that leave at once, now and then, so that they are sent and received as one
TRAIN_EVERY = 25
TEXT_MAX = 1372
TIMEOUT_S = 60.0


@dataclass
class Tally:
    """What an end of a flow has seen.

    `outage_s` is the longest time in which nothing that was sent was answered, and `still_s` the longest between two
    blocks of a stream. TCP may wait longer than the tunnel was away. `asleep_s` is the longest time that the probe's
    process did not run although it was due: so much of an outage is the machine's.
    """

    sent: int = 0
    received: int = 0
    received_bytes: int = 0
    damaged: int = 0
    overtaken: int = 0
    reconnected: int = 0
    outage_s: float = 0.0
    still_s: float = 0.0
    asleep_s: float = 0.0


def digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_LEN).digest()


@dataclass
class Order:
    """The numbers of a flow as they come: `note` tells whether one was overtaken."""

    greatest: int = -1

    def note(self, number: int) -> bool:
        overtaken = number < self.greatest
        self.greatest = max(self.greatest, number)
        return overtaken


@dataclass
class Outages:
    """Sends and answers in seconds: how long was the oldest unanswered send waiting, when at last an answer came?"""

    longest_s: float = 0.0
    waiting: deque[tuple[int, float]] = field(default_factory=deque)

    def sent(self, number: int, now: float) -> None:
        self.waiting.append((number, now))

    def look(self, now: float) -> None:
        """Counts the time that the oldest send waits already: an outage that has not ended is one."""
        if self.waiting:
            self.longest_s = max(self.longest_s, now - self.waiting[0][1])

    def answered(self, number: int, now: float) -> None:
        """An answer to `number`; earlier sends without one are lost, and begin no outage of their own."""
        while self.waiting and self.waiting[0][0] < number:
            self.longest_s = max(self.longest_s, now - self.waiting.popleft()[1])
        if self.waiting and self.waiting[0][0] == number:
            self.waiting.popleft()


def datagram(number: int, rng: random.Random) -> bytes:
    text = number.to_bytes(8, "big") + rng.randbytes(rng.randrange(TEXT_MAX - 8 - DIGEST_LEN))
    return digest(text) + text


def number_of(data: bytes) -> int | None:
    """The number of an undamaged datagram."""
    if len(data) < DIGEST_LEN + 8 or digest(data[DIGEST_LEN:]) != data[:DIGEST_LEN]:
        return None
    return int.from_bytes(data[DIGEST_LEN : DIGEST_LEN + 8], "big")


class Teller:
    """Prints the tally each second."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._next = 0.0

    def tell(self, now: float) -> None:
        if now >= self._next:
            self._next = now + 1
            print(json.dumps(asdict(self._tally)), flush=True)


def probe_from(address: str, port: int) -> None:
    tally, order, outages = Tally(), Order(), Outages()
    teller, rng = Teller(tally), random.Random(port)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock, selectors.DefaultSelector() as selector:
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ)
        due = time.monotonic()
        while True:
            now = time.monotonic()
            tally.asleep_s = max(tally.asleep_s, round(now - due, 3))
            outages.look(now)
            tally.outage_s = round(outages.longest_s, 3)
            teller.tell(now)
            if now >= due:
                due = max(due + PROBE_EVERY_S, now)  # a process that slept does not catch up
                for _ in range(TRAIN if rng.randrange(TRAIN_EVERY) == 0 else 1):
                    try:
                        sock.sendto(datagram(tally.sent, rng), (address, port))
                    except OSError:  # refused while the interface is away: as lost on the way
                        continue
                    finally:
                        outages.sent(tally.sent, now)
                        tally.sent += 1
            for _ in selector.select(max(0.0, due - time.monotonic())):
                take_echoes(sock, tally, order, outages)


def take_echoes(sock: socket.socket, tally: Tally, order: Order, outages: Outages) -> None:
    while True:
        try:
            data = sock.recv(2048)
        except BlockingIOError:
            return
        except OSError:
            continue  # an ICMP error about an earlier one
        number = number_of(data)
        if number is None:
            tally.damaged += 1
            continue
        tally.received += 1
        tally.received_bytes += len(data)
        tally.overtaken += order.note(number)
        outages.answered(number, time.monotonic())


def probe_to(port: int) -> None:
    tally, order = Tally(), Order()
    teller = Teller(tally)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", port))
        sock.settimeout(1)
        while True:
            teller.tell(time.monotonic())
            try:
                data, source = sock.recvfrom(2048)
            except OSError:
                continue
            number = number_of(data)
            if number is None:
                tally.damaged += 1
                continue
            tally.received += 1
            tally.received_bytes += len(data)
            tally.overtaken += order.note(number)
            try:
                sock.sendto(data, source)
            except OSError:
                continue
            tally.sent += 1


def stream_from(address: str, port: int, mbit_s: float) -> None:
    tally = Tally()
    teller, rng = Teller(tally), random.Random(port)
    while True:
        connected = False
        try:
            with socket.create_connection((address, port), timeout=TIMEOUT_S) as connection:
                connected = True
                _send_blocks(connection, tally, teller, rng, mbit_s)
        except OSError:
            tally.reconnected += connected  # the other end may not listen yet
            time.sleep(0.5)


def _send_blocks(connection: socket.socket, tally: Tally, teller: Teller, rng: random.Random, mbit_s: float) -> None:
    pool = rng.randbytes(2 * BLOCK_MAX)
    due = time.monotonic()
    while True:
        begin, length = rng.randrange(BLOCK_MAX), rng.randint(1, BLOCK_MAX)
        block = pool[begin : begin + length]
        connection.sendall(length.to_bytes(4, "big") + digest(block) + block)
        tally.sent += 1
        now = time.monotonic()
        teller.tell(now)
        due = max(due + length * 8 / mbit_s / 1e6, now - 1)
        time.sleep(max(0.0, due - now))


def stream_to(port: int) -> None:
    tally = Tally()
    teller = Teller(tally)
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        while True:
            teller.tell(time.monotonic())
            connection, _ = listener.accept()
            connection.settimeout(TIMEOUT_S)
            last = time.monotonic()
            with connection, contextlib.suppress(OSError), connection.makefile("rb", buffering=1 << 20) as received:
                while len(header := received.read(HEADER_LEN)) == HEADER_LEN:
                    length = int.from_bytes(header[:4], "big")
                    if len(block := received.read(length)) < length:
                        break
                    tally.received += 1
                    tally.received_bytes += length
                    tally.damaged += digest(block) != header[4:]
                    now = time.monotonic()
                    tally.still_s = round(max(tally.still_s, now - last), 3)
                    last = now
                    teller.tell(now)
            tally.reconnected += 1


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role == "stream-from":
        stream_from(arguments[0], int(arguments[1]), float(arguments[2]))
    elif role == "stream-to":
        stream_to(int(arguments[0]))
    elif role == "probe-from":
        probe_from(arguments[0], int(arguments[1]))
    else:
        probe_to(int(arguments[0]))
