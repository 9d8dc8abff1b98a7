"""The largest packet that comes back: a search by halves, where a size has failed only after several tries.

A lost packet and one that is too large look the same, so a size that fails is tried again, and a size that passes once
has passed. The ends of the search hold: the smallest size is tried first, and without it nothing is known. The smallest
size that failed is tried once more in the end: where either host paused for a moment, all tries of one size are late.
"""

from collections.abc import Callable
from typing import Final

TRIES: Final = 3


def largest(passes: Callable[[int], bool], low: int, high: int, *, tries: int = TRIES) -> int:
    """The largest size in low..high for which `passes`; 0 when `low` doesn't.

    `passes` sends one packet of that size, and says whether it was answered. It may be wrong when it says no.
    """

    def fits(size: int) -> bool:
        return any(passes(size) for _ in range(tries))

    if low > high or not fits(low):
        return 0
    if fits(high):
        return high
    failed = [high]
    while failed:
        while failed[-1] - low > 1:
            middle = (low + failed[-1]) // 2
            if fits(middle):
                low = middle
            else:
                failed.append(middle)
        if not fits(failed[-1]):
            break
        low = failed.pop()
    return low
