"""Work without Python's collector: what is made stays, and it would look through all of it again and again."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected_meanwhile() -> Iterator[None]:
    """In the body nothing is collected: for many objects that are made at once, and are no circles."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """In the body nothing is collected. What there is afterwards is left out of collections for good.

    So it is for modules alone: a circle of objects that is garbage by then stays.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was:
            gc.enable()
