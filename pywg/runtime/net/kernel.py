"""The release of the running kernel, and the faults that are known of it.

A release says what a kernel was made from, not what its maker put back or took out. So an option can overrule what this
module decides.
"""

import os
import re
from typing import Final, NamedTuple

_FINAL: Final = 1 << 30
_RELEASE: Final = re.compile(r"(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(.*)", re.ASCII | re.DOTALL)
_CANDIDATE: Final = re.compile(r"[-.~_+]rc(\d{1,4})(?![0-9a-z])", re.ASCII)


class Release(NamedTuple):
    """A release. Releases compare in their order: candidates come before what they became."""

    major: int
    minor: int
    patch: int
    candidate: int
    """7 for -rc7; more than for any candidate when it is none"""


UNKNOWN: Final = Release(0, 0, 0, _FINAL)
_EQUAL_TAIL_SINCE: Final = Release(7, 0, 0, 1)
_EQUAL_TAIL_UNTIL: Final = Release(7, 1, 0, 5)


def parse_release(text: str) -> Release:
    """The release in the text of uname(2), to which a distribution may have added; UNKNOWN for another form.

    "7.1.0-rc5+" and Fedora's "7.1.0-0.rc5.45.fc45.x86_64" are candidates, "7.0.2-6-pve" and "6.18.3-rci" are none.
    """
    found = _RELEASE.match(text)
    if found is None:
        return UNKNOWN
    major, minor, patch, rest = found.groups()
    candidate = _CANDIDATE.search(rest)
    return Release(int(major), int(minor), int(patch or 0), int(candidate[1]) if candidate else _FINAL)


def release() -> Release:
    """The release of the running kernel."""
    try:
        return parse_release(os.uname().release)
    except OSError:
        return UNKNOWN


def damages_equal_tail(kernel: Release) -> bool:
    """Whether a UDP_SEGMENT send whose last datagram is as long as the others may leave damaged.

    Linux 7.0-rc1 to 7.1-rc5, over devices that leave part of the segmentation to the kernel (NETIF_F_GSO_PARTIAL): the
    last aggregate then gets the UDP length and checksum of all of it. A shorter last datagram is an aggregate of its
    own, and right. Nothing tells at run time: the send succeeds.
    """
    return _EQUAL_TAIL_SINCE <= kernel <= _EQUAL_TAIL_UNTIL
