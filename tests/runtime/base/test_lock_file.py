"""Lock files: one holder at a time, and the file goes with it."""

import fcntl
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pywg.runtime.base.lock_file import lock, locked
from tests.descriptors import own_descriptors


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def test_one_has_it_and_others_may_not_even_open_it(path: Path) -> None:
    umask = os.umask(0)
    try:
        with locked(path) as fd:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert os.path.samestat(os.fstat(fd), path.stat())
            with pytest.raises(BlockingIOError):
                lock(path)
            assert path.exists(), "the holder's"
    finally:
        os.umask(umask)
    assert not path.exists()
    with locked(path):
        pass


def test_a_file_that_its_last_holder_removed_is_no_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was opened before, and locked after."""
    flock, before, tries = fcntl.flock, len(own_descriptors(settled=True)), 0

    def late(fd: int, operation: int) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            path.unlink()
        elif tries == 2:
            path.unlink()
            path.touch()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(path, wait_s=30) as fd:
        assert os.path.samestat(os.fstat(fd), path.stat())
        assert tries == 3
    assert len(own_descriptors()) == before


def test_it_is_waited_for(path: Path) -> None:
    with ThreadPoolExecutor(1) as others:
        fd = lock(path)
        waits = others.submit(lock, path, wait_s=30)
        with pytest.raises(BlockingIOError):
            lock(path, wait_s=0.02)
        assert not waits.done()
        os.unlink(path)
        os.close(fd)
        os.close(waits.result())
    assert path.exists()


def test_no_link_is_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        lock(path)
    assert not (tmp_path / "elsewhere").exists()
