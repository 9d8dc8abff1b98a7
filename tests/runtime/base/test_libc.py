"""What libc is told about memory."""

import ctypes
import subprocess
import sys

import pytest

GROWTH = """
import ctypes
from pywg.runtime.base.libc import spare_memory
libc = ctypes.CDLL(None)
libc.sbrk.restype = ctypes.c_void_p
def grows_by():
    before = libc.sbrk(0)
    while (now := libc.sbrk(0)) == before:
        libc.malloc(ctypes.c_size_t(1000))
    return now - before
before = grows_by()
spare_memory()
grows_by()
print(before > 128 << 10, grows_by() <= 20 << 10)
"""


def test_malloc_takes_little_more_than_it_gives() -> None:
    """16 KiB more than it needs, where glibc takes 128 KiB more otherwise."""
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("glibc alone has mallopt()")
    ended = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "True True\n"
