"""A file that can't be saved stays as it was, and nothing of the new one is left beside it."""

import errno
import io
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, NoReturn

import pytest

from pywg.config.wg_quick import WgQuickConfig
from pywg.errors import DeviceError
from pywg.manage import whole_file
from pywg.manage.tunnel import names, save
from pywg.manage.tunnel.names import QuickFile

TEXT = """\
[Interface]
PrivateKey = WGRnL2KjPBPA+XSdPo9tZ5XWDUdxsEH7sEIOO1jU+Gw= # made in spring
ListenPort = 51820
"""


@pytest.fixture
def file(tmp_path: Path) -> QuickFile:
    path = tmp_path / "wg0.conf"
    path.write_text(TEXT)
    path.chmod(0o644)
    return names.read(names.find(str(path)))


def changed(file: QuickFile) -> WgQuickConfig:
    return replace(file.config, interface=replace(file.config.interface, listen_port=7))


def refuse(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Full(io.FileIO):
    """A file on a disk where there is no room."""

    def write(self, _: object) -> NoReturn:
        refuse()


def on_a_full_disk(path: str, mode: str, opener: Callable[[str, int], int]) -> IO[bytes]:
    return io.BufferedWriter(Full(path, mode, opener=opener))


def is_as_it_was(file: QuickFile) -> bool:
    path = Path(file.target.path)
    return path.read_text() == TEXT and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("module", "call", "instead"),
    [
        (os, "open", refuse),
        (whole_file, "open", on_a_full_disk),
        (os, "fchmod", refuse),
        (os, "fsync", refuse),
        (os, "rename", refuse),
    ],
    ids=["no new file", "no room in it", "no mode", "not on the disk", "no name"],
)
def test_what_fails_changes_nothing(
    file: QuickFile, monkeypatch: pytest.MonkeyPatch, module: object, call: str, instead: object
) -> None:
    with monkeypatch.context() as failing:
        failing.setattr(module, call, instead, raising=False)
        with pytest.raises(DeviceError, match=r"wg0\.conf can't be saved: No space left on device"):
            save.write(file, changed(file))
    assert is_as_it_was(file)


def test_what_does_not_fail_is_saved(file: QuickFile) -> None:
    save.write(file, changed(file))
    path = Path(file.target.path)
    assert path.read_text() == TEXT.replace("51820", "7")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(path.parent.iterdir()) == [path]
