"""The data plane's tests once more, built with the compiler's sanitizers (tests/sanitizers.py)."""

import subprocess
from pathlib import Path

import pytest

from tests.beside import build_library
from tests.sanitizers import ADDRESS, THREAD, Sanitizer, said
from tests.support import require_tool

pytestmark = pytest.mark.slow

NOT_AGAIN = (
    "test_sanitized.py",
    "test_plane_memory.py",  # measures memory, of which a sanitizer needs plenty
    "test_reserve.py",  # runs out of memory
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
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-4000:]


FAULTS = """
#include <assert.h>
#include <stdlib.h>
static int four[4];
int undefined(int fault) { return four[fault ? 4 : 3]; }
int address(int fault)
{
    volatile char *bytes = malloc(4);
    if (fault)
        free((char *)bytes);
    bytes[0] = 1;
    return 0;
}
int asserted(int fault) { assert(!fault); return 0; }
"""


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_tool("cc")
    require_tool("setarch")
    directory = tmp_path_factory.mktemp("faults")
    (directory / "faults.c").write_text(FAULTS)
    return build_library(directory / "faults.c", directory / "faults.so", sanitize=ADDRESS.name)


@pytest.mark.parametrize(
    ("fault", "word"), [("undefined", "bounds"), ("address", "use-after-free"), ("asserted", "Assert")]
)
def test_every_kind_of_report_ends_the_process(faults: Path, fault: str, word: str, tmp_path: Path) -> None:
    """Where one was only printed, the test above would pass."""
    report = tmp_path / "report"

    def run(faulty: int) -> subprocess.CompletedProcess[str]:
        call = f"import ctypes; ctypes.CDLL({str(faults)!r}).{fault}({faulty})"
        return subprocess.run(ADDRESS.command(report, "-c", call), check=False, capture_output=True, text=True)

    assert run(0).returncode == 0
    done = run(1)
    assert done.returncode != 0
    assert word in done.stderr + "".join(said(report))


def test_the_data_plane_is_built_so() -> None:
    ADDRESS.build()
    for module in (ADDRESS.directory / "pywg" / "dataplane").rglob("*.so"):
        symbols = module.read_bytes()
        assert b"__ubsan_handle_out_of_bounds\0" not in symbols, module
    outbatch, *_ = (ADDRESS.directory / "pywg" / "dataplane" / "send").glob("seal.*.so")
    assert b"__ubsan_handle_out_of_bounds_abort\0" in outbatch.read_bytes()
    assert b"__assert_fail\0" in outbatch.read_bytes()
