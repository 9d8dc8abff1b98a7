"""The AEAD's backends as the tests know them: the list to add one to.

What a backend needs is read from /proc/cpuinfo, and not asked of the backend: one that this processor can run and the
data plane doesn't offer fails its tests.
"""

import re
from pathlib import Path

import pytest

_AVX512 = {"avx2", "bmi2", "avx512f", "avx512vl", "avx512bw"}
NEEDS: dict[str, set[str]] = {
    "evp": set(),
    "libcrypto": set(),  # OpenSSL 3, which is what distributions have
    "avx2": {"avx2", "bmi2"},
    "avx512": _AVX512,
    "ifma": _AVX512 | {"avx512ifma"},
}
"""Flags of the processor by backend, in the order of the data plane's table."""

KERNELS = {"avx2": 2, "avx512": 5, "ifma": 6}
"""Our own, by their level: they leave a text that is not authentic as it was, and their Poly1305 can be called."""


def _flags() -> set[str]:
    found = re.search(r"^(?:flags|Features)\s*:(.*)", Path("/proc/cpuinfo").read_text(), re.M)
    return set(found[1].split()) if found else set()


def _lacks(name: str) -> str:
    """Why this processor can't run the backend; empty: it can."""
    lacking = sorted(NEEDS[name] - _flags())
    return f"this processor lacks {', '.join(lacking)}, which the AEAD {name} needs" if lacking else ""


HERE = [name for name in NEEDS if not _lacks(name)]
USUAL = HERE[-1]
"""Of tests that don't name one: always the same, whatever is fastest in a noisy moment."""

each_backend = [
    pytest.param(name, marks=pytest.mark.skipif(name not in HERE, reason=_lacks(name) or "none"), id=name)
    for name in NEEDS
]
every_backend = pytest.mark.parametrize("aead", each_backend)
