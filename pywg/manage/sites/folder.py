"""Files with keys, written into folders: nobody else may read them, none is overwritten, and all are there or none."""

import contextlib
import os
from collections.abc import Mapping

from pywg.errors import ConfigError

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_all(folder: str, files: Mapping[str, str], *, force: bool) -> None:
    """Writes files by their path below `folder`, making folders of mode 0700 and files of mode 0600.

    Raises ConfigError when one is there already and not `force`, or is a folder; OSError. Then nothing was written.
    """
    if not force and (there := next((name for name in files if os.path.lexists(os.path.join(folder, name))), "")):
        raise ConfigError(f"{os.path.join(folder, there)} is there already: nothing was written (--force overwrites)")
    if folders := [name for name in files if os.path.isdir(os.path.join(folder, name))]:
        raise ConfigError(f"{os.path.join(folder, folders[0])} is a folder, and no file: nothing was written")
    made: list[str] = []
    written: list[str] = []
    try:
        for name in files:
            _make_folders(os.path.dirname(os.path.join(folder, name)), made)
        for name, text in files.items():
            path = os.path.join(folder, name)
            _write_new(f"{path}.new", text)
            written.append(path)
        for path in written:
            os.rename(f"{path}.new", path)
    except BaseException:  # a signal too: keys are in them
        for path in written:
            with contextlib.suppress(FileNotFoundError):  # it has its name already
                os.unlink(f"{path}.new")
        for path in reversed(made):
            with contextlib.suppress(OSError):
                os.rmdir(path)
        raise


def _make_folders(path: str, made: list[str]) -> None:
    if path and not os.path.isdir(path):
        _make_folders(os.path.dirname(path), made)
        os.mkdir(path, 0o700)
        made.append(path)


def _write_new(path: str, text: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # of a run that was killed
    descriptor = os.open(path, _NEW, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
    except BaseException:
        os.unlink(path)
        raise
