"""The wheel on an interpreter of this machine: in an environment of its own, without a compiler, and a tunnel by it."""

import re
import tempfile
import tomllib
from pathlib import Path

from bench.tunnel.command import run
from bench.tunnel.implementations import Implementation
from bench.tunnel.lab import Lab
from tests.installs.minutes import WHEEL
from tests.installs.story import newest
from tests.packages import ROOT


def least() -> list[str]:
    """The oldest versions of what pywg requires that pyproject.toml allows."""
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return [re.sub(">=", "==", one) for one in required]


def try_interpreter(python: str, *exactly: str) -> None:
    """Installs the wheel, with those versions of what it requires or the newest, and joins two daemons."""
    with tempfile.TemporaryDirectory(prefix="pywg-python-") as name:
        place = Path(name) / "pywg"
        run(python, "-m", "venv", str(place), timeout=300)
        pip = ("env", "CC=/bin/false", str(place / "bin" / "pip"), "install", "--quiet", "--only-binary", ":all:")
        run(*pip, str(newest(WHEEL)), *exactly, timeout=600)
        program = str(place / "bin" / "pywg")
        print(run(program, "version", "--verbose", timeout=60), flush=True)
        installed = Implementation("pywg-installed", (program, "-f"))
        with Lab(installed, installed, psk=True) as lab:
            lab.establish(within_s=60)
            for site in lab.sites:
                assert Path(f"/proc/{site.pid}/cmdline").read_text().split("\0")[1] == program
                assert site.stats()["sandbox_seccomp_threads"] == "1"
