"""Files that are written as a whole: into a new one beside the old one, whose name it then takes."""

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, first: bool = False) -> Iterator[BinaryIO]:
    """The file to write into, which has the name `path` when the body is done and the disk has it.

    A reader finds all of the old one or all of the new. The new one is its owner's alone (0600) until the body gives it
    another mode: there may be keys in it. A link of that name is replaced, not followed. Where anything fails, or a
    signal comes, the old one stays and nothing is left beside it. `first`: there is to be none of that name yet.

    Raises OSError; FileExistsError where there is one that was to be the `first`.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.urandom(6).hex()}")
    try:
        with open(temporary, "xb", opener=_for_its_owner) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if first:
            os.link(temporary, path)
        else:
            os.rename(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # it has its name already
            os.unlink(temporary)


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
