"""Control groups that limit memory, by the first version or the second."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel.site import poll

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


@contextlib.contextmanager
def limited(name: str, limit: int) -> Iterator[Path]:
    """A group with this memory and no swap. It has to be empty at the end of the block."""
    root, file = (V1, "memory.limit_in_bytes") if V1.exists() else (V2, "memory.max")
    if root == V2 and "memory" not in (V2 / "cgroup.subtree_control").read_text().split():
        pytest.skip("the memory controller of control groups is not there: mount it on /sys/fs/cgroup/memory")
    group = root / name
    group.mkdir()
    try:
        (group / file).write_text(str(limit))
        yield group
    finally:
        poll(lambda: (group / "cgroup.procs").read_text() == "", "all processes of the group have ended")
        group.rmdir()


def kills(group: Path) -> int:
    """How many processes the kernel has killed there for want of memory."""
    file = group / ("memory.oom_control" if (group / "memory.oom_control").exists() else "memory.events")
    rows = dict(line.split() for line in file.read_text().splitlines())
    return int(rows["oom_kill"])
