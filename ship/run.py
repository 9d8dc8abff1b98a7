"""Commands of what makes packages, where they work, and what they tell."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"


def run(*argv: str | Path, cwd: Path | None = None, more: Mapping[str, str] = MappingProxyType({})) -> str:
    """What the command prints; `more` is for its environment. SystemExit: it failed; what it said is shown."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYWG_", "PYTHON"))}
    done = subprocess.run(
        argv,
        cwd=cwd,
        env={**inherited, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout[-4000:]}{done.stderr[-4000:]}\nship: status {done.returncode} of {argv[0]}")
    return done.stdout


def tell(text: str) -> None:
    """A line of progress."""
    print(f"ship: {text}", flush=True)
