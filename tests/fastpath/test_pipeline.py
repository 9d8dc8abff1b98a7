"""The helpers' pipeline by itself: every slot once, in order, and whole, however the threads meet."""

import importlib.util
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).with_name("pipeline_stress.pyx")
ROOT = Path(__file__).resolve().parents[2]
SLOTS = 1_000_000
REFUSED = 500
HELD = 3_000


@pytest.fixture(scope="module")
def stress(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Built beside the data plane, and with the same sanitizer (tests/sanitizers.py)."""
    directory = tmp_path_factory.mktemp("pipeline")
    shutil.copy(SOURCE, directory)
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    if names := os.environ.get("PYWG_SANITIZE"):
        flags = f"-fsanitize={names} -O1 -g"
        environment |= {"CFLAGS": flags, "LDFLAGS": flags}
    subprocess.run(
        [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-q", str(directory / SOURCE.name)],
        check=True,
        cwd=ROOT,
        env=environment,
    )
    (built,) = directory.glob("*.so")
    spec = importlib.util.spec_from_file_location(SOURCE.stem, built)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("refusals", [0, REFUSED])
@pytest.mark.parametrize("helpers", [1, 2, 5])
def test_every_slot_once_in_order_and_whole(stress: ModuleType, helpers: int, refusals: int) -> None:
    one = stress.Stress(refusals=refusals)
    with ThreadPoolExecutor(helpers) as pool:
        helping = [pool.submit(one.help) for _ in range(helpers)]
        assert one.read(SLOTS, HELD) == (SLOTS, 0)
        assert [each.result() for each in helping] == [None] * helpers
