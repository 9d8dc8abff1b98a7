"""The highest rate that loses less than one datagram in a hundred, in few trials."""

from collections.abc import Callable

from .traffic import Throughput

MAX_LOSS = 0.01
_FINE = 1.03  # a bracket this narrow is an answer


def highest_rate(offer: Callable[[float], Throughput], first: float, steps: int) -> Throughput:
    """The best of at most `steps` trials that lost less than MAX_LOSS; all zeros when none did.

    `offer` sends at a rate in bits/s. From `first` on, the rate doubles or halves until a good and a bad one are
    known; then their bracket is bisected, in ratios. Ends early when the sender can't offer what it was asked for.
    """
    best = Throughput(0.0, 0)
    low = high = 0.0
    rate = first
    for _ in range(steps):
        result = offer(rate)
        if result.lost < MAX_LOSS:
            low = rate
            best = max(best, result, key=lambda one: one.bits_per_s)
            if result.bits_per_s < rate * 0.9:
                break
        else:
            high = rate
        if low and high and high / low < _FINE:
            break
        rate = (low * high) ** 0.5 if low and high else rate * 2 if low else min(rate / 2, result.bits_per_s or rate)
    return best
