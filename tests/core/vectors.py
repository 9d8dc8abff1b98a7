"""Third-party vectors that can't be part of this repository; PYWG_EXTRA_VECTORS names the directory they are in."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "PYWG_EXTRA_VECTORS"


def load(name: str) -> dict[str, Any]:
    """The parsed JSON file; skips the test where there is none."""
    directory = os.environ.get(VARIABLE)
    if not directory:
        pytest.skip(f"set {VARIABLE} to the directory that holds {name} to run this")
    loaded: dict[str, Any] = json.loads((Path(directory) / name).read_text())
    return loaded


def wycheproof(name: str) -> list[dict[str, Any]]:
    """All cases of a Wycheproof file; there must be as many as it says."""
    loaded = load(name)
    cases = [case for group in loaded["testGroups"] for case in group["tests"]]
    assert len(cases) == loaded["numberOfTests"] > 0
    return cases
