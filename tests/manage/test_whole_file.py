"""A file is replaced as a whole, or stays as it was, and nothing is left beside it."""

import errno
import os
import stat
from pathlib import Path

import pytest

from pywg.manage.whole_file import replacing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_text("old")
    return made


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0, 0o077])
def test_readers_find_the_old_or_the_new(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with replacing(path) as file:
            (beside,) = {*names(path)} - {"file"}
            assert mode(path.parent / beside) == 0o600, "keys may be in it"
            file.write(b"ne")
            file.flush()
            assert path.read_text() == "old"
            file.write(b"w")
    finally:
        os.umask(before)
    assert (path.read_text(), mode(path), names(path)) == ("new", 0o600, ["file"])


@pytest.mark.parametrize("first", [False, True])
def test_a_mode_that_it_is_given_is_kept(path: Path, *, first: bool) -> None:
    path.unlink()
    with replacing(path, first=first) as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(b"new")
    assert (path.read_text(), mode(path), names(path)) == ("new", 0o644, ["file"])


def test_one_that_was_to_be_the_first_leaves_another_alone(path: Path) -> None:
    with pytest.raises(FileExistsError), replacing(path, first=True) as file:
        file.write(b"new")
    assert (path.read_text(), names(path)) == ("old", ["file"])


@pytest.mark.parametrize("call", ["open", "fsync", "rename"])
def test_where_a_call_fails_all_is_as_before(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as failing:
        failing.setattr(os, call, refuse)
        with pytest.raises(OSError, match="No space left"), replacing(path) as file:
            file.write(b"new")
    assert (path.read_text(), names(path)) == ("old", ["file"])


def test_where_a_signal_comes_all_is_as_before(path: Path) -> None:
    def interrupted() -> None:
        with replacing(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (path.read_text(), names(path)) == ("old", ["file"])


def test_a_link_is_replaced_and_not_followed(path: Path) -> None:
    link = path.parent / "link"
    link.symlink_to(path)
    with replacing(link) as file:
        file.write(b"new")
    assert not link.is_symlink()
    assert (link.read_text(), path.read_text()) == ("new", "old")
