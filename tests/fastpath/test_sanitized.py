"""The data plane's tests once more, built with the compiler's sanitizers (tests/sanitizers.py)."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.native_build import ROOT, build_library
from tests.requirements import require_tool
from tests.sanitizers import ADDRESS, THREAD, Sanitizer, said

pytestmark = pytest.mark.slow

NOT_AGAIN = (
    "test_sanitized.py",
    "test_plane_memory.py",  # measures memory, of which a sanitizer needs plenty
    "test_plane_endless.py",  # the same
    "test_reserve.py",  # runs out of memory
    "test_secret.py",  # looks at pages by itself
)
OF_THREADS = (
    "test_helper_threads.py",
    "test_helpers.py",
    "test_handoff.py",
    "test_lanes.py",
    "test_plane_confirm.py",
    "test_plane_endpoints.py",
    "test_plane_lifecycle.py",
    "test_plane_loop.py",
    "test_plane_pressure.py",
    "test_plane_removal.py",
    "test_plane_staging.py",
    "test_plane_tunnels.py",
    "test_plane_under_load.py",
    "test_shards.py",
    "test_strays.py",
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
    told = done.stderr[-4000:] + done.stdout[-4000:]
    assert said(report) == [], told  # where a test fails, the sockets that it closes by that may be in use
    assert done.returncode == 0, told


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


RACE = """
#include <pthread.h>
static int shared;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int locked;
static void *add(void *arg)
{
    if (locked)
        pthread_mutex_lock(&lock);
    shared++;
    if (locked)
        pthread_mutex_unlock(&lock);
    return arg;
}
int race(int fault)
{
    pthread_t other;
    locked = !fault;
    if (pthread_create(&other, 0, add, 0))
        return 1;
    add(0);
    return pthread_join(other, 0);
}
"""


def test_a_race_is_reported_where_it_is_read(tmp_path: Path) -> None:
    """ThreadSanitizer ends no process (exitcode=0): its reports alone tell, and nothing is left out of them."""
    require_tool("cc")
    require_tool("setarch")
    assert "suppressions" not in THREAD.options
    (tmp_path / "race.c").write_text(RACE)
    library = build_library(tmp_path / "race.c", tmp_path / "race.so", sanitize=THREAD.name)
    report = tmp_path / "report"

    def run(fault: int) -> list[str]:
        call = f"import ctypes; assert ctypes.CDLL({str(library)!r}).race({fault}) == 0"
        subprocess.run(THREAD.command(report, "-c", call), check=True)
        return said(report)

    assert run(0) == []
    (told,) = run(1)
    assert "data race" in told


@pytest.fixture(scope="module")
def assertions() -> None:
    ADDRESS.build("tests/fastpath/assertions.pyx")


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("claim", "function"),
    [
        ("inside_the_gate", "staged_take"),
        ("inside_the_gate_of_another", "staged_take"),
        ("inside_both_gates", "handshake_close"),
        ("room_of_a_buffer", "reorder_submit"),
    ],
)
@pytest.mark.usefixtures("assertions")
def test_a_claim_that_does_not_hold_ends_the_process(claim: str, function: str, tmp_path: Path) -> None:
    def run(*, broken: bool) -> subprocess.CompletedProcess[str]:
        call = f"from tests.fastpath import assertions; assertions.{claim}({broken})"
        command = ADDRESS.command(tmp_path / "report", "-c", call)
        return subprocess.run(command, check=False, cwd=ADDRESS.directory, capture_output=True, text=True)

    held = run(broken=False)
    assert held.returncode == 0, held.stderr
    done = run(broken=True)
    assert done.returncode == -signal.SIGABRT
    assert re.search(rf"{function}: Assertion .* failed", done.stderr)


@pytest.mark.parametrize(("length", "room", "builds"), [(64, 64, True), (65, 64, False)])
def test_constants_that_do_not_fit_do_not_compile(length: int, room: int, builds: bool, tmp_path: Path) -> None:
    require_tool("cc")
    lines = ("from pywg.dataplane.sys.checks cimport static_fits", "def fits():", f"    static_fits({length}, {room})")
    (tmp_path / "fits.pyx").write_text("\n".join(lines))
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-q", str(tmp_path / "fits.pyx")]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode == 0) == builds
    assert ("static assertion failed" in done.stderr) != builds


def test_the_data_plane_is_built_so() -> None:
    ADDRESS.build()
    for module in (ADDRESS.directory / "pywg" / "dataplane").rglob("*.so"):
        symbols = module.read_bytes()
        assert b"__ubsan_handle_out_of_bounds\0" not in symbols, module
    outbatch, *_ = (ADDRESS.directory / "pywg" / "dataplane" / "send").glob("seal.*.so")
    assert b"__ubsan_handle_out_of_bounds_abort\0" in outbatch.read_bytes()
    assert b"__assert_fail\0" in outbatch.read_bytes()
