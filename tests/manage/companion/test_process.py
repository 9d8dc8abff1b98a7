"""The companion as a process: what is left of one that does not start."""

import os
import time
from pathlib import Path

import pytest

from pywg.errors import DeviceError
from pywg.manage.companion import process
from pywg.manage.tunnel.names import Target

_NEVER_READY = """
echo it says why >&2
eval "sleep 1000 $PYWG_COMPANION_READY_FD>&- &"
echo $! > "$0.pid"
eval "exec $PYWG_COMPANION_READY_FD>&-"
wait
"""


def test_one_that_is_never_ready_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child of it has standard error open: `pywg up` would wait for that child's end."""
    program = ["/bin/bash", "-c", _NEVER_READY, str(tmp_path / "child")]
    monkeypatch.setattr(process, "program_of_pywg", lambda: program)
    with pytest.raises(DeviceError, match="it says why"):
        process.start(Target("wg0", str(tmp_path / "wg0.conf")), dict(os.environ))
    child = Path(f"/proc/{int((tmp_path / 'child.pid').read_text())}/stat")
    until = time.monotonic() + 30
    while child.exists() and child.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until
