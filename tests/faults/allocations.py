"""Control of tests/faults/allocations.c: which of a program's allocations fail, and how many there were."""

import ctypes
import mmap
import os
import shlex
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

SOURCE = Path(__file__).with_name("allocations.c")
BUILT = SOURCE.parents[2] / "build" / "faults" / "allocations.so"
MAIN, OTHERS = 1, 2
"""Whose allocations count: the main thread's, all others'."""


class _Control(ctypes.Structure):
    _fields_ = (
        ("who", ctypes.c_uint64),
        ("at", ctypes.c_int64),
        ("seen", ctypes.c_int64),
        ("failed", ctypes.c_int64),
        ("live", ctypes.c_int64),
    )


class Allocations:
    """The allocations of a process: of this one, where the library is loaded, or of one that is given `environ`."""

    def __init__(self, control: _Control, path: str = "") -> None:
        self._control = control
        self._who = memoryview(control).cast("B")[:8].cast("Q")  # to write to it allocates nothing
        self._path = path
        self.last_live = 0

    @classmethod
    def of_this_process(cls) -> Self:
        """Its library is preloaded."""
        library = ctypes.CDLL(None)
        library.allocations_control.restype = ctypes.POINTER(_Control)
        return cls(library.allocations_control().contents)

    @classmethod
    @contextmanager
    def of_another(cls) -> Iterator[Self]:
        """One that is still to be started."""
        with tempfile.NamedTemporaryFile(prefix="pywg-allocations-") as file:
            file.truncate(ctypes.sizeof(_Control))
            yield cls(_Control.from_buffer(mmap.mmap(file.fileno(), ctypes.sizeof(_Control))), file.name)

    @property
    def environ(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(build()), "ALLOCATIONS_CONTROL": self._path}

    @property
    def seen(self) -> int:
        """Allocations while the last block of `failing` ran."""
        return int(self._control.seen)

    @property
    def failed(self) -> int:
        return int(self._control.failed)

    @property
    def live(self) -> int:
        """Blocks that malloc() and its kin have given out."""
        return int(self._control.live)

    @contextmanager
    def failing(self, at: int = 0, *, who: int = MAIN) -> Iterator[None]:
        """Fails allocation number `at` of the block, from 1 on; 0: counts alone."""
        control = self._control
        control.seen, control.failed, control.at = 0, 0, at
        self._who[0] = who
        try:
            yield
        finally:
            self._who[0] = 0


def build() -> Path:
    """The library to preload, built anew where its source has changed."""
    if not BUILT.exists() or BUILT.stat().st_mtime < SOURCE.stat().st_mtime:
        BUILT.parent.mkdir(parents=True, exist_ok=True)
        partial = BUILT.with_suffix(f".{os.getpid()}")
        compiler = shlex.split(sysconfig.get_config_var("CC"))
        flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"]
        subprocess.run([*compiler, *flags, "-o", partial, SOURCE], check=True)
        partial.rename(BUILT)
    return BUILT
