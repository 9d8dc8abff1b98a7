"""Facts of this host: read, and tried on what nobody uses."""

import contextlib
import ctypes
import os
import time
from pathlib import Path

from pywg.manage.doctor.facts import Machine
from pywg.runtime.base import namespaces
from pywg.runtime.base.libc import CAP_NET_ADMIN, permitted_capabilities
from pywg.runtime.net.tun_device import device_fault
from pywg.runtime.selfbench import offloads

_KERNELS = {"avx512ifma": "ifma", "avx512f": "avx512", "avx2": "avx2"}
"""The processor's flag -> the batch cipher that needs it, the fastest first."""
_TIMEX_LEN = 256
_TIME_ERROR = 5


def gather() -> Machine:
    """Forks for a moment: this process must have no threads."""
    fault, _, mend = device_fault().partition(": ")
    return Machine(
        net_admin=_net_admin(),
        tun_fault=fault,
        tun_mend=mend,
        kernel=os.uname().release,
        offloads=offloads.tun_offloads() | offloads.udp_offloads(),
        wall=time.time(),
        clock_synchronized=_clock_is_kept(),
        fast_ciphers=_fast_ciphers(),
        ip_forward={
            version: on != 0
            for version, on in ((4, number("net/ipv4/ip_forward")), (6, number("net/ipv6/conf/all/forwarding")))
            if on is not None
        },
    )


def number(name: str) -> int | None:
    """A setting of /proc/sys; None where it isn't to be had."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/proc/sys", name).read_text())
    return None


def _net_admin() -> bool:
    """Root of a user namespace has every capability, and none over the network that it did not make itself."""
    with contextlib.suppress(OSError):
        return bool(permitted_capabilities() >> CAP_NET_ADMIN & 1) and namespaces.is_ours()
    return False


def _clock_is_kept() -> bool | None:
    """Whether a time service has set the clock: adjtimex(2), which changes nothing here."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_LEN))
    except (AttributeError, OSError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def _fast_ciphers() -> list[str] | None:
    """None where /proc/cpuinfo has no flags of a processor that pywg has ciphers for."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                flags = set(line.split())
                return [cipher for flag, cipher in _KERNELS.items() if flag in flags]
    return None
