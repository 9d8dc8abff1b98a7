"""TAI64N timestamps: 8 bytes of seconds, 4 of nanoseconds, big-endian, so that bytes compare as times do.

Paper, section 5.1 and 5.4.2. The responder answers an initiation only if it carries a greater timestamp than any
before from that peer. Ours are coarse (constants.TAI64N_WHITENING_NS), so that they tell no more about this machine's
clock than they must, and grow from one initiation to the next even when the wall clock stands still or jumps back.

Known limit of the protocol (CVE-2021-46873): an initiation sent while the clock was far in the future makes the other
end refuse all of this key's until that time comes, or until it is restarted.
"""

from typing import Final

from pywg.constants import TAI64N_WHITENING_NS

_TAI_OF_EPOCH: Final = 0x400000000000000A
"""TAI64's label for 1970-01-01: 2^62, and the ten seconds TAI was ahead."""
_SECOND_NS: Final = 1_000_000_000
OLDEST: Final = bytes(12)
"""Less than the timestamp of any initiation."""


def whiten(wall_ns: int) -> int:
    """Nanoseconds since the epoch, the part below a second rounded down to TAI64N_WHITENING_NS."""
    seconds, nanoseconds = divmod(wall_ns, _SECOND_NS)
    return seconds * _SECOND_NS + (nanoseconds & ~(TAI64N_WHITENING_NS - 1))


def encode(wall_ns: int) -> bytes:
    """The 12 bytes for a time in nanoseconds since the epoch."""
    seconds, nanoseconds = divmod(wall_ns, _SECOND_NS)
    return (_TAI_OF_EPOCH + seconds).to_bytes(8, "big") + nanoseconds.to_bytes(4, "big")


def next_timestamp(wall_ns: int, last_ns: int) -> int:
    """The whitened time to send now, greater than `last_ns`, the one sent before (0: none); both ns since the epoch."""
    return max(whiten(wall_ns), whiten(last_ns + TAI64N_WHITENING_NS))
