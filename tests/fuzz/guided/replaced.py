"""Something else in the place of what a module uses, for one case."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def replaced(owner: object, **others: object) -> Iterator[None]:
    """`owner` has these attributes, until the body ends."""
    before = {name: getattr(owner, name) for name in others}
    try:
        for name, other in others.items():
            setattr(owner, name, other)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
