"""The data plane's tests once more, built with the compiler's sanitizers (tests/sanitizers.py)."""

import subprocess
from pathlib import Path

import pytest

from tests.sanitizers import ADDRESS, THREAD, Sanitizer, said

NOT_AGAIN = (
    "test_sanitized.py",
    "test_plane_memory.py",  # measures memory, of which a sanitizer needs plenty
    "test_secret.py",  # looks at pages by itself
)
OF_THREADS = (
    "test_helper_threads.py",
    "test_helpers.py",
    "test_lending.py",
    "test_pipeline.py",
    "test_plane_confirm.py",
    "test_plane_endpoints.py",
    "test_plane_lifecycle.py",
    "test_plane_loop.py",
    "test_plane_pressure.py",
    "test_plane_removal.py",
    "test_plane_staging.py",
    "test_plane_under_load.py",
)
TESTS = {
    ADDRESS: ("tests/fastpath", *(f"--ignore=tests/fastpath/{name}" for name in NOT_AGAIN)),
    THREAD: tuple(f"tests/fastpath/{name}" for name in OF_THREADS),
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("sanitizer", TESTS, ids=lambda one: one.name)
def test_sanitizer_has_nothing_to_say(sanitizer: Sanitizer, tmp_path: Path) -> None:
    sanitizer.build()
    report = tmp_path / "report"
    command = sanitizer.command(report, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *TESTS[sanitizer])
    done = subprocess.run(command, check=False, cwd=sanitizer.directory, capture_output=True, text=True)
    assert said(report) == []
    assert done.returncode == 0, done.stdout[-4000:]
