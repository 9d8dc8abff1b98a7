"""A parcel: state with keys in it, in memory that one process of this machine gives another as a descriptor.

memfd_create(2). The sender makes it empty. The receiver gives it its length, seals that (so that no access past the end
can kill it), maps it and locks it into memory: all before the first key is in it. So no key is ever written to swap,
where memory may be locked. The contents are not sealed: what can't be written can't be wiped, and both ends wipe it.
The receiver believes nothing of it that its Reader and its users have not checked.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Sequence

from pywg.dataplane.crypto.secret import Secret, wipe
from pywg.errors import DeviceError
from pywg.runtime.base.libc import lock_memory

MOST_BYTES = 1 << 30
"""Of a parcel: a million keypairs take as much."""
MEMFD_FLAGS = 0x1 | 0x2
"""MFD_CLOEXEC, MFD_ALLOW_SEALING."""
_SEALS = 0x1 | 0x2 | 0x4
"""F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW."""
_F_ADD_SEALS, _F_GET_SEALS = 1033, 1034
_PARTS_A_CALL = 512
_CHUNK = bytes(1 << 12)
_LENGTH = struct.Struct("=I")

Part = bytes | Secret


class Writer:
    """Collects what goes into a parcel. Secrets are the caller's own, and stay."""

    def __init__(self) -> None:
        self._whole: list[Part] = []
        self._run: list[bytes] = []
        self.length = 0

    @property
    def parts(self) -> list[Part]:
        """All of it, in order: each secret, and what is between two of them."""
        self._end_run()
        return self._whole

    def put(self, form: struct.Struct, *values: object) -> None:
        """Values of a fixed form."""
        self._add(form.pack(*values))

    def put_bytes(self, data: bytes) -> None:
        """Bytes of any length."""
        self._add(_LENGTH.pack(len(data)))
        self._add(data)

    def put_secret(self, secret: Secret | None) -> None:
        """The bytes of a secret, from where they are."""
        self._add(_LENGTH.pack(0 if secret is None else len(secret)))
        if secret is not None:
            self._end_run()
            self._whole.append(secret)
            self.length += len(secret)

    def _add(self, data: bytes) -> None:
        self._run.append(data)
        self.length += len(data)

    def _end_run(self) -> None:
        if self._run:
            self._whole.append(b"".join(self._run))
            self._run = []


class Reader:
    """Reads what a Writer has put, in the same order. Raises DeviceError EBADMSG for anything else."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def take(self, form: struct.Struct) -> tuple[int, ...]:
        """Values of a fixed form. Those of a form with floats or bytes are such, and the caller knows."""
        return form.unpack(self._cut(form.size))

    def count(self, most: int) -> int:
        """A number of things to follow."""
        (number,) = _LENGTH.unpack(self._cut(_LENGTH.size))
        if number > most:
            raise bad_parcel(f"{number} where at most {most} can be")
        return int(number)

    def take_bytes(self, most: int) -> bytes:
        """Bytes of any length."""
        return bytes(self._cut(self.count(most)))

    def take_secret(self, length: int) -> Secret | None:
        """A new Secret of that length, or None for none."""
        there = self.count(length)
        if there not in (0, length):
            raise bad_parcel("a key of another length")
        return Secret(self._cut(there)) if there else None

    def close(self) -> None:
        """Reads no more. Idempotent."""
        self._data.release()

    def _cut(self, length: int) -> memoryview:
        if length > len(self._data) - self._at:
            raise bad_parcel("it ends too early")
        self._at += length
        return self._data[self._at - length : self._at]


def bad_parcel(what: str) -> DeviceError:
    """For state that is none."""
    return DeviceError(errno.EBADMSG, f"the state that was handed over can't be used: {what}")


class SentParcel:
    """The sender's end. Raises OSError."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("pywg", MEMFD_FLAGS)
        self._written = 0

    def write(self, parts: Sequence[Part]) -> None:
        """Writes all parts, each from where it lies."""
        for first in range(0, len(parts), _PARTS_A_CALL):
            left = [memoryview(part) for part in parts[first : first + _PARTS_A_CALL]]
            while left:
                written = os.writev(self.fd, left)
                self._written += written
                while left and written >= len(left[0]):
                    written -= len(left.pop(0))
                if written:
                    left[0] = left[0][written:]

    def wipe(self) -> None:
        """Overwrites what was written with zeros, and lets go of it. Idempotent.

        Who has received it may have made it shorter, or so long that zeros for all of it would never end.
        """
        if self.fd < 0:
            return
        try:
            length = min(self._written, os.fstat(self.fd).st_size)
            for at in range(0, length, len(_CHUNK)):
                os.pwrite(self.fd, _CHUNK[: length - at], at)
        finally:
            self.close()

    def close(self) -> None:
        """Lets go of it: the receiver wipes it. Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class ReceivedParcel:
    """The receiver's end of `fd`, which it owns: `length` bytes, mapped and locked. Raises DeviceError, OSError.

    `most`: bytes that the sender may have in it; no more than MOST_BYTES in any case.
    """

    def __init__(self, fd: int, length: int, *, most: int = MOST_BYTES) -> None:
        try:
            if not 0 < length <= min(most, MOST_BYTES):
                raise bad_parcel(f"{length} bytes")
            _only_memory(fd)
            os.ftruncate(fd, length)
            fcntl.fcntl(fd, _F_ADD_SEALS, _SEALS)
            if fcntl.fcntl(fd, _F_GET_SEALS) & _SEALS != _SEALS or os.fstat(fd).st_size != length:
                raise bad_parcel("it may change its length")
            self._mapping = mmap.mmap(fd, length, mmap.MAP_SHARED)
        finally:
            os.close(fd)
        self.locked = lock_memory(self._mapping)
        self._mapping.madvise(mmap.MADV_DONTDUMP)

    def read(self) -> "Reader":
        """From its beginning."""
        return Reader(memoryview(self._mapping))

    def wipe(self) -> None:
        """Overwrites it with zeros."""
        with memoryview(self._mapping) as everything:
            wipe(everything)

    def close(self) -> None:
        """Wipes it, and gives its memory back. No Reader of it may be used afterwards. Idempotent."""
        if self._mapping.closed:
            return
        self.wipe()
        with contextlib.suppress(BufferError):  # a Reader, in the traceback of an error: it is wiped all the same
            self._mapping.close()


def _only_memory(fd: int) -> None:
    """Raises DeviceError for any other file: what it gets a length could be a log, or a disk."""
    try:
        if fcntl.fcntl(fd, _F_GET_SEALS) & _SEALS:
            raise bad_parcel("it is sealed already")
    except OSError as error:
        if isinstance(error, DeviceError):
            raise
        raise bad_parcel("it is no memory") from error
