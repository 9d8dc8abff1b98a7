"""Builds the drivers beside the sanitized data plane (tests/sanitizers.py), and runs their cases in a process apart.

A driver is a .pyx and those whose names begin with its own; they call the stages' own functions, and their system calls
are those of kernel.c. A case depends on the driver, the seed and its number alone.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.native_build import ROOT, build_library
from tests.sanitizers import ADDRESS, said

HERE = Path(__file__).parent
DRIVERS = ("outbound", "inbound")
PLACE = HERE.relative_to(ROOT)
KERNEL = "kernel.so"
PATIENCE = 120  # seconds that a process may need beside its cases


@dataclass(frozen=True)
class Done:
    """What a run came to."""

    driver: str
    seed: int
    cases: int
    frames: int
    cpu_seconds: float
    failure: str | None

    def __str__(self) -> str:
        if self.failure is None:
            rate = round(self.frames / max(self.cpu_seconds, 0.01))
            return f"{self.driver}: {self.cases} cases of seed {self.seed}, {self.frames} frames, {rate} a CPU second"
        again = f"python -m tests.fuzz.native --seed {self.seed} --case {self.cases} {self.driver}"
        return f"{self.driver}: case {self.cases} of seed {self.seed} failed. Again with: {again}\n{self.failure}"


@contextmanager
def built() -> Iterator[Path]:
    """A directory for a run. The sanitized data plane and the drivers are kept, and built only where they changed."""
    ADDRESS.build(*(str(source.relative_to(ROOT)) for source in sorted(HERE.glob("*.pyx"))))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        build_library(HERE / "kernel.c", directory / KERNEL, sanitize="")
        yield directory


def run(directory: Path, driver: str, seed: int, *, seconds: float, first: int = 0, cases: int | None = None) -> Done:
    """Runs cases until the CPU seconds or their number is up, or one fails: then `cases` is the number of that one.

    A driver of that name in `directory` goes before what was built.
    """
    module = next(made for where in (directory, ADDRESS.directory / PLACE) for made in where.glob(f"{driver}.*.so"))
    report = directory / f"{driver}-report"
    inside = ("-m", "tests.fuzz.native.inside", str(module), str(seed), str(first), str(cases or 0), str(seconds))
    command = ADDRESS.command(report, *inside, preload=(directory / KERNEL,))
    done = subprocess.run(
        command, check=False, cwd=ADDRESS.directory, capture_output=True, text=True, timeout=20 * seconds + PATIENCE
    )
    *_, last = [json.loads(line) for line in done.stdout.splitlines()]
    failure = None
    if done.returncode != 0 or not last["over"]:
        failure = f"status {done.returncode}\n{done.stderr[-4000:]}" + "".join(said(report))
    return Done(driver, seed, last["case"], last["frames"], last["cpu_seconds"], failure)
