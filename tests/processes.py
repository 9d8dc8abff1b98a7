"""What /proc says of another process, which may end at any moment."""

import contextlib
import os
from pathlib import Path


def read(pid: int, name: str) -> bytes:
    """A file of the process; nothing where that is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def status(pid: int) -> dict[str, str]:
    """Its status by the names that proc(5) has for it; but for an empty PPid, nothing where the process is gone."""
    lines = read(pid, "status").decode(errors="replace").splitlines()
    return {"PPid": "", **{key: value.strip() for key, value in (line.split(":", 1) for line in lines)}}


def has_ended(pid: int) -> bool:
    """Whether it is gone, or is a zombie."""
    return status(pid).get("State", "Z")[0] in "ZX"


def waits_in(pid: int, program: str) -> bool:
    """Whether the process is this program, and sleeps: execve(2) sets the name before all of the program is there."""
    its = status(pid)
    return its.get("Name") == program and its["State"][0] == "S"


def descriptors(pid: int) -> dict[int, str]:
    """Where each of the process's descriptors leads, but of those that it closes meanwhile, such as a client's."""
    found = {}
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[int(fd.name)] = os.readlink(fd)
    return found
