"""Capabilities of the calling thread, and of what it starts from then on, and how it drops them: capabilities(7)."""

import contextlib
import errno
from collections.abc import Callable

from pywg.runtime.base.libc import permitted_capabilities, prctl, set_capabilities

_CAPABILITIES = 64
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4


def keep_only(wanted: int, *, become: Callable[[], None] = lambda: None) -> None:
    """Keeps those of `wanted` (bit n for capability n) that are permitted, and no other, in any set.

    `become` changes the user on the way: it needs capabilities that go, and may clear those that stay from the
    effective set. Without CAP_SETPCAP the bounding set stays as it is: with no_new_privs it means nothing. Raises
    OSError.
    """
    kept = permitted_capabilities() & wanted
    with contextlib.suppress(PermissionError):
        for number in range(_CAPABILITIES):
            if not kept >> number & 1 and _is_bounding(number):
                prctl(_PR_CAPBSET_DROP, number)
    with contextlib.suppress(OSError):  # no ambient set: Linux before 4.3
        prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    become()
    set_capabilities(kept)


def _is_bounding(number: int) -> bool:
    try:
        return prctl(_PR_CAPBSET_READ, number) == 1
    except OSError as error:
        if error.errno == errno.EINVAL:  # past the last capability of this kernel
            return False
        raise
