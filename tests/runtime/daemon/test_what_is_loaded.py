"""What a daemon loads: nothing that it does not need, each of which would be milliseconds and memory."""

import contextlib
import gc
import json
import subprocess
import sys

import pytest

from pywg.runtime.base.loading import uncollected

PROGRAM = """
import sys
before = set(sys.modules)
import pywg.__main__, pywg.cli.main
with pywg.cli.main.without_unused():
    import pywg.cli.run
pywg.cli.run.load()
import json
print(json.dumps([name for name in sys.modules if name not in before]))
"""
NEEDLESS = (
    *("cryptography", "pyroute2", "argparse", "pathlib", "urllib", "multiprocessing"),
    *("ssl", "_ssl", "asyncio.sslproto", "subprocess", "_posixsubprocess", "locale"),
    *(("ast", "_ast") if sys.version_info < (3, 14) else ()),
)


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
    assert [one for one in loaded if one == name or one.startswith(f"{name}.")] == []


AFTERWARDS = """
from pywg.runtime.base.stand_ins import without_unused
with without_unused():
    import pywg.cli.run
pywg.cli.run.load()
import ast, asyncio.sslproto, ssl, subprocess
print(ast.literal_eval("[1]"))
print(ssl.create_default_context().check_hostname, issubclass(asyncio.sslproto.SSLProtocol, asyncio.BufferedProtocol))
print(subprocess.run(["echo", "program"], capture_output=True, text=True).stdout, end="")
"""


def test_what_was_left_out_can_be_had_afterwards() -> None:
    ended = subprocess.run([sys.executable, "-c", AFTERWARDS], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "[1]\nTrue True\nprogram\n"


COLLECTED = """
import gc
import pywg.cli.run
def collections():
    return sum(generation["collections"] for generation in gc.get_stats())
before = collections()
{load}
print(collections() - before, gc.isenabled(), gc.get_freeze_count() > 10_000)
"""


@pytest.mark.parametrize(
    ("load", "collected"),
    [("pywg.cli.run.load()", False), ("import asyncio, uvloop, pywg.runtime.device.device", True)],
    ids=["as a daemon", "as any program"],
)
def test_nothing_is_collected_while_modules_are_loaded(load: str, collected: bool) -> None:
    """Afterwards the collector works as ever, and leaves out what was loaded."""
    program = COLLECTED.format(load=load)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    count, enabled, frozen = ended.stdout.split()
    assert (int(count) > 5, enabled, frozen) == (collected, "True", str(not collected))


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_afterwards_what_it_was(enabled: bool) -> None:
    was = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with contextlib.suppress(ImportError), uncollected():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was else gc.disable)()
        gc.unfreeze()
