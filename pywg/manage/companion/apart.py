"""Work with secrets in a process that ends with it: what it leaves in memory never is in this one."""

import json
import os
from collections.abc import Callable
from typing import Any

from pywg.errors import DeviceError, PywgError

_MOST = 1 << 26


def apart(work: Callable[[], object]) -> Any:
    """What `work` returns, by way of JSON. Raises DeviceError or PywgError as it does, with text and errno alone."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _report(work, writing)
    os.close(writing)
    with open(reading, "rb") as pipe:
        told = pipe.read(_MOST)
    os.waitpid(pid, 0)
    try:
        given = json.loads(told)
    except ValueError:
        raise PywgError("a process that was to read has ended") from None
    if "error" in given:
        raise DeviceError(given["errno"], given["error"]) if given["errno"] else PywgError(given["error"])
    return given["done"]


def _report(work: Callable[[], object], fd: int) -> None:
    """Writes what came of it, and ends this process."""
    try:
        try:
            told: dict[str, object] = {"done": work()}
        except PywgError as error:
            told = {"error": str(error), "errno": 0}
            if isinstance(error, DeviceError):
                told = {"error": error.strerror, "errno": error.errno}
        with open(fd, "wb") as pipe:
            pipe.write(json.dumps(told).encode())
    finally:
        os._exit(0)
