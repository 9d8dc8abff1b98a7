"""A build without a cipher is made for the bench alone: never for a release, never by a daemon's environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.tunnel import builds
from tests.requirements import require_root, require_tool

ROOT = Path(__file__).resolve().parents[2]
SEAL = """
from pywg._fastpath import available_aeads
from tests.native.aead import seal_batch
print(available_aeads(), seal_batch("auto", bytes(32), 0, [b"any" * 16])[0][16:64])
"""


def said(command: list[str], where: Path, **environ: str) -> str:
    """What a process says that succeeds."""
    there = {**os.environ, "PYTHONPATH": str(where), **environ}
    done = subprocess.run(
        [sys.executable, "-P", *command], capture_output=True, text=True, env=there, cwd=where, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("sdist",),
        ("bdist_wheel",),
        ("install",),
        ("build",),
        ("build_ext",),
        ("build_ext", "--inplace", "bdist_wheel"),
        ("egg_info",),  # as every front end begins
    ],
)
def test_a_release_is_refused(tmp_path: Path, command: tuple[str, ...]) -> None:
    environ = {**os.environ, "PYWG_NULL_CIPHER": "1"}
    done = subprocess.run(
        [sys.executable, ROOT / "setup.py", *command],
        capture_output=True,
        text=True,
        env=environ,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr.startswith("setup.py: PYWG_NULL_CIPHER is set: a build that does not encrypt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["1", "none"])
def test_the_environment_of_a_process_has_no_say(value: str) -> None:
    here = said(["-c", SEAL], ROOT, PYWG_NULL_CIPHER=value)
    assert "none" not in here
    assert "any" not in here
    refused = (
        "from pywg._fastpath import choose_aead\ntry: choose_aead('none')\nexcept ValueError as error: print(error)"
    )
    assert "'none' is not known" in said(["-c", refused], ROOT, PYWG_NULL_CIPHER=value)


@pytest.mark.netns
@pytest.mark.timeout(600)
def test_the_build_of_the_bench_leaves_the_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And a cipher can't be asked for there, which it would not have; the daemon's first lines say it."""
    require_root()
    require_tool("cc")
    require_tool("unshare")
    monkeypatch.setattr(builds, "NULL_CIPHER", tmp_path)
    monkeypatch.setattr(builds, "_STAMP", tmp_path / ".sources")
    builds.null_cipher_daemon()
    assert builds.null_cipher_is_current()
    assert not list(tmp_path.glob("build/lib*")), "a wheel would be made of it"
    there = said(["-c", SEAL], tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert "('none',)" in there
    assert "any" * 16 in there
    refused = "from pywg._fastpath import Plane\ntry: Plane(aead='evp')\nexcept ValueError as error: print(error)"
    assert "'evp' is not known: choose one of auto, none" in said(["-c", refused], tmp_path)
    daemon = subprocess.Popen(
        ["unshare", "--net", sys.executable, "-P", "-m", "pywg", "-f", "wgnull"],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "LOG_LEVEL": "error"},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert daemon.stderr
    assert "THIS BUILD DOES NOT ENCRYPT" in daemon.stderr.readline()
    daemon.terminate()
    assert daemon.wait(30) == 0
