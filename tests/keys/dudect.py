"""python -m tests.keys.dudect [--rounds N]: whether the time of what works on secrets depends on them, by measurement.

As dudect does: calls with a fixed input and with random ones, in random order, and Welch's t-test of their cycles, of
all and of the fastest. |t| above 10 is a difference; the planted comparison that ends early has to show one. By hand: a
busy machine needs more rounds, and no time is asserted in the tests.
"""

import argparse
import secrets
import statistics

from tests.aead import HERE
from tests.keys.test_constant_time import BODY, KEY, sealed_cookie, sealed_texts, with_one_wrong
from tests.native import secret_work

ROUNDS = 100_000
A_TURN = 10_000
EACH = 100
"""Inputs of either kind, in turns: if there were one fixed input, what would show is that a cache has it."""
FASTEST = (1.0, 0.9, 0.5)
"""Shares of the measurements that are looked at."""
DIFFERENT = 10.0


def welch(one: list[int], other: list[int]) -> float:
    """Welch's t of two samples."""
    spread = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return (statistics.fmean(one) - statistics.fmean(other)) / (spread**0.5 or 1.0)


def measure(work: str, inputs: list[bytes], rounds: int) -> float:
    """The t of the even inputs, which are one and the same, against the odd ones that is farthest from 0."""
    fixed: list[int] = []
    others: list[int] = []
    for _ in range(rounds // A_TURN):
        order = bytes(secrets.randbelow(len(inputs)) for _ in range(A_TURN))
        for number, cycles in zip(order, secret_work.cycles(work, inputs, order), strict=True):
            (others if number % 2 else fixed).append(cycles)
    found = []
    for share in FASTEST:
        limit = sorted(fixed + others)[int(share * (len(fixed) + len(others))) - 1]
        found.append(welch([c for c in fixed if c <= limit], [c for c in others if c <= limit]))
    return max(found, key=abs)


def varied(fixed: bytes, secret: slice) -> list[bytes]:
    """Copies of a fixed input, each followed by one with something random in one place."""
    before, after = fixed[: secret.start], fixed[secret.stop :]
    found = []
    for _ in range(EACH):
        found += [bytes(bytearray(fixed)), before + secrets.token_bytes(len(fixed[secret])) + after]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.keys.dudect")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    message = KEY + BODY + secrets.token_bytes(32)
    cookie, tail = sealed_cookie(), slice(56 + 16, 56 + 32)
    subjects = [
        ("early exit", varied(with_one_wrong(bytes(32), 31), slice(0, 32))),
        ("compare", varied(with_one_wrong(bytes(32), 31), slice(0, 32))),
        ("MAC1", varied(with_one_wrong(message, 148 + 15), slice(148, 164))),
        ("MAC2", varied(with_one_wrong(message, 164 + 15), slice(164, 180))),
        ("open cookie", varied(with_one_wrong(cookie, tail.stop - 1), tail)),
    ]
    for work, inputs in subjects:
        report(work, measure(work, inputs, rounds))
    for aead in HERE:
        sealed = sealed_texts(aead)  # chooses the backend too
        end = slice(len(sealed) - 16, len(sealed))
        report(f"seal {aead}", measure("seal", varied(sealed, slice(0, len(sealed))), rounds))
        report(f"open {aead}", measure("open", varied(with_one_wrong(sealed, end.stop - 1), end), rounds))


def report(name: str, t: float) -> None:
    print(f"{name:16} t = {t:9.2f}{'  DIFFERENT' if abs(t) > DIFFERENT else ''}", flush=True)


if __name__ == "__main__":
    main()
