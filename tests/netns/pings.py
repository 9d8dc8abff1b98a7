"""What ping(8) has told, line by line, of pings through a tunnel: one that is answered late is not lost.

Its own summary takes for lost what is still under way when it ends, which on a busy machine is more than one.
"""

import re
from typing import NamedTuple


class Pings(NamedTuple):
    """How many were answered; and of those before the last one of these, how many were not."""

    answered: int
    lost: int


def told(said: str) -> Pings:
    """Of what `ping` has printed without -q."""
    numbers = {int(number) for number in re.findall(r"\bicmp_seq=(\d+) ttl=", said)}
    return Pings(len(numbers), max(numbers, default=0) - len(numbers))
