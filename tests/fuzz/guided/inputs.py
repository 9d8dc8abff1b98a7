"""Runs inputs through a target in this process, without atheris."""

import importlib
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.fuzz import corpus


def target(name: str) -> Callable[[bytes], None]:
    """What takes an input, and raises when something is wrong."""
    run: Callable[[bytes], None] = importlib.import_module(f"tests.fuzz.guided.targets.{name}").run
    return run


def kept(name: str) -> list[Path]:
    """The kept inputs of a target, as files."""
    return sorted(corpus.unpack(name).iterdir())


def failures(name: str, files: Iterable[Path]) -> list[str]:
    """What each file that fails says."""
    run, failed = target(name), []
    for file in files:
        try:
            run(file.read_bytes())
        except Exception:  # noqa: BLE001 - whatever it is, it is what was looked for
            failed.append(f"{file}\n{traceback.format_exc()}")
    return failed
