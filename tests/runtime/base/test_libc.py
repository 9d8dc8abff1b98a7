"""What libc is told about memory, and the pages of an object that go back to the system."""

import asyncio
import ctypes
import mmap
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import uvloop

from pywg.runtime.base.libc import give_back_zeros

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


def _present(one: object) -> int:
    """How many whole pages of the object are in memory."""
    first, end = -(-id(one) // mmap.PAGESIZE), (id(one) + type(one).__basicsize__) // mmap.PAGESIZE
    with Path("/proc/self/pagemap").open("rb", buffering=0) as entries:
        entries.seek(8 * first)
        return sum(entry >> 63 for (entry,) in struct.iter_unpack("=Q", entries.read(8 * (end - first))))


def test_zeros_go_back_to_the_system() -> None:
    """Those of uvloop's buffer for streams: the loop is in every byte what it was, and streams work."""
    loop = uvloop.new_event_loop()
    try:
        image, pages = _image(loop), _present(loop)
        assert image.count(0) > 250_000
        give_back_zeros(loop)
        assert _present(loop) < pages - 50
        assert _image(loop) == image
        assert loop.run_until_complete(_echoed(b"a" * 200_000)) == b"a" * 200_000
    finally:
        loop.close()


def _image(one: object) -> bytes:
    return ctypes.string_at(id(one), type(one).__basicsize__)


async def _echoed(data: bytes) -> bytes:
    near, far = socket.socketpair()
    reader, _ = await asyncio.open_connection(sock=near)
    _, writer = await asyncio.open_connection(sock=far)
    writer.write(data)
    writer.close()
    return await reader.read()
