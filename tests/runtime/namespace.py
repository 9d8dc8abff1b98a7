"""A network namespace for one test, made without a name and gone with its thread."""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

CLONE_NEWNET = 0x40000000


def run_inside(test: Callable[[], None], timeout: float = 60.0) -> None:
    """Runs `test` in a thread that is alone in a new network namespace; what it starts is there too."""

    with ThreadPoolExecutor(1) as threads:
        threads.submit(enter_namespace).result(timeout)
        threads.submit(test).result(timeout)


def enter_namespace() -> None:
    """Has the calling thread be alone in a new network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def ip(*arguments: str) -> str:
    """ip(8) in the namespace of this thread."""
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def unique(prefix: str) -> str:
    """An interface or namespace name that no other test run has."""
    return f"{prefix}{os.getpid() % 1_000_000}"


def as_user(uid: int, does: Callable[[], bool]) -> bool:
    """What `does` says in a process of this user's, without capabilities unless that is root."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os._exit(does())
        os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (False, True)
    return bool(code)
