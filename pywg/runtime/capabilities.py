"""Gives up the capabilities of the calling thread, and of what it starts from then on: capabilities(7)."""

import contextlib
import errno
import struct

from pywg.runtime.libc import capget, capset, prctl

CAP_NET_BIND_SERVICE = 10
CAP_NET_ADMIN = 12
CAP_NET_RAW = 13

_CAPABILITIES = 64
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

_HEADER = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, the calling thread
_DATA = struct.Struct("=6I")  # effective, permitted, inheritable: bits 0 to 31, then bits 32 to 63


def permitted() -> int:
    """The capabilities that this thread may use, bit n for capability n."""
    _, low, _, _, high, _ = _DATA.unpack(capget(_HEADER, _DATA.size))
    return int(low | high << 32)


def keep_only(wanted: int) -> None:
    """Keeps those of `wanted` (bit n for capability n) that are permitted, and no other, in any set.

    Without CAP_SETPCAP the bounding set stays as it is: with no_new_privs it means nothing. Raises OSError.
    """
    kept = permitted() & wanted
    with contextlib.suppress(PermissionError):
        for number in range(_CAPABILITIES):
            if not kept >> number & 1 and _is_bounding(number):
                prctl(_PR_CAPBSET_DROP, number)
    with contextlib.suppress(OSError):  # no ambient set: Linux before 4.3
        prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    capset(_HEADER, _DATA.pack(low, low, 0, high, high, 0))


def _is_bounding(number: int) -> bool:
    try:
        return prctl(_PR_CAPBSET_READ, number) == 1
    except OSError as error:
        if error.errno == errno.EINVAL:  # past the last capability of this kernel
            return False
        raise
