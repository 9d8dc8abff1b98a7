"""A log in a file: appended to, private, and no reason to stop when the disk is full."""

import errno
import os
import resource
import stat
from pathlib import Path

import pytest

from pywg.errors import DeviceError
from pywg.runtime.base import log_file
from pywg.runtime.base.log import Level, Log
from pywg.runtime.base.log_file import open_log_file


def test_lines_are_appended_to_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "pywg.log"
    for number in range(2):
        log = Log("wg7", Level.INFO, output=open_log_file(str(path)))
        log.info(f"line {number}")
        log.close()
    assert [line.rpartition(" ")[2] for line in path.read_text().splitlines()] == ["0", "1"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_after_a_truncation_it_goes_on_at_the_beginning(tmp_path: Path) -> None:
    """What logrotate's copytruncate does."""
    path = tmp_path / "pywg.log"
    log = Log("wg7", Level.INFO, output=open_log_file(str(path)))
    log.info("before")
    os.truncate(path, 0)
    log.info("after")
    assert path.read_text().startswith("INFO: (wg7)")
    assert "before" not in path.read_text()


def test_a_full_disk_loses_lines_and_tells_how_many(tmp_path: Path) -> None:
    """A limit of the file's length stands for the disk: the write fails with an errno of the same kind."""
    path = tmp_path / "pywg.log"
    log = Log("wg7", Level.INFO, output=open_log_file(str(path)))
    log.info("before")
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, unlimited[1]))
    try:
        for _ in range(5_000):
            log.info("x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    log.info("afterwards")
    lines = path.read_text().splitlines()
    lost = [int(line.split()[4]) for line in lines if "lost" in line]
    assert sum(lost) + len(lines) - len(lost) == 5_002
    assert lost
    assert lines[-1].endswith("afterwards")


@pytest.mark.parametrize("path", ["missing/pywg.log", "."])
def test_a_file_that_can_not_be(tmp_path: Path, path: str) -> None:
    with pytest.raises(DeviceError, match=r"the log file '.*' can't be opened: ") as no:
        open_log_file(str(tmp_path / path))
    assert str(no.value).count("\n") == 0


@pytest.mark.parametrize(("where", "old_kernel"), [("file", False), ("folder", False), ("file", True)])
def test_a_link_that_was_put_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, *, old_kernel: bool
) -> None:
    """By another user who may write in the folder, or in one above it: root writes where it was told, or nowhere.

    An old kernel looks at the last part alone.
    """
    if old_kernel:
        monkeypatch.setattr(log_file, "_OPENAT2", 1 << 20)
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "logs" / "pywg.log"
    path.parent.mkdir()
    open_log_file(str(path), links=False).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.unlink()
    if where == "file":
        path.symlink_to(tmp_path / "elsewhere" / "pywg.log")
    else:
        path.parent.rmdir()
        path.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DeviceError, match="can't be opened") as no:
        open_log_file(str(path), links=False)
    assert no.value.errno == errno.ELOOP
    assert not (tmp_path / "elsewhere" / "pywg.log").exists()
    open_log_file(str(path)).close()
    assert (tmp_path / "elsewhere" / "pywg.log").exists(), "the operator's own link"
