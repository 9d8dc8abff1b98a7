"""What a daemon loads: nothing that it does not need, each of which would be milliseconds and memory."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import sys
before = set(sys.modules)
import pywg.__main__, pywg.cli.main, pywg.cli.run
pywg.cli.run.load()
import json
print(json.dumps([name for name in sys.modules if name not in before]))
"""
NEEDLESS = ("cryptography", "pyroute2", "ssl", "_ssl", "argparse", "pathlib", "urllib", "multiprocessing")


@pytest.fixture(scope="module")
def loaded() -> list[str]:
    # -I -S, with the paths by hand: what an editable installation imports is none of a daemon's.
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path = {sys.path!r}\n{PROGRAM}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found: list[str] = json.loads(ended.stdout)
    return found


def test_what_a_daemon_needs(loaded: list[str]) -> None:
    assert {"asyncio", "uvloop", "pywg._fastpath", "pywg.core.handshake", "pywg.runtime.device.device"} <= set(loaded)


@pytest.mark.parametrize("name", NEEDLESS)
def test_what_a_daemon_does_not_need(loaded: list[str], name: str) -> None:
    assert [one for one in loaded if one.split(".")[0] == name] == []


def test_ssl_can_be_had_afterwards() -> None:
    program = "import pywg.cli.run; pywg.cli.run.load(); import ssl; print(ssl.create_default_context().check_hostname)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "True\n"
