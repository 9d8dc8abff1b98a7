"""The memory of a handover, from the sender's side, with a receiver that means ill."""

import os

import pytest

from pywg.runtime.base.parcel import SentParcel

MADE_LONG = 64 << 20


@pytest.mark.parametrize("length", [MADE_LONG, 100, 40])
def test_what_was_written_is_wiped_whatever_length_the_receiver_gives_it(length: int) -> None:
    parcel = SentParcel()
    received = os.dup(parcel.fd)
    try:
        parcel.write([b"k" * 60, b"k" * 40])
        os.ftruncate(received, length)
        parcel.wipe()
        assert os.pread(received, 200, 0) == bytes(min(length, 200))
        now = os.fstat(received)
        assert now.st_size == length
        assert now.st_blocks * 512 < MADE_LONG, "zeros were written where nothing was"
        parcel.wipe()
    finally:
        os.close(received)
