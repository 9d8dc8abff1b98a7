"""A network namespace for one test, made without a name and gone with its thread."""

import ctypes
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

CLONE_NEWNET = 0x40000000


def run_inside(test: Callable[[], None], timeout: float = 60.0) -> None:
    """Runs `test` in a thread that is alone in a new network namespace; what it starts is there too."""

    def body() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        test()

    with ThreadPoolExecutor(1) as threads:
        threads.submit(body).result(timeout)


def ip(*arguments: str) -> str:
    """ip(8) in the namespace of this thread."""
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def unique(prefix: str) -> str:
    """An interface or namespace name that no other test run has."""
    return f"{prefix}{os.getpid() % 1_000_000}"
