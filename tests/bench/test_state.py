"""A wait that was in vain tells what is seen of the daemons: it can seldom be had once more."""

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel import site
from bench.tunnel.command import CommandError
from bench.tunnel.namespace import Namespace
from bench.tunnel.site import await_start, poll
from tests.requirements import require_root, require_tool

LISTENS = """
import socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listens now", flush=True)
time.sleep(600)
"""


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    require_root()
    require_tool("ss")
    made = Namespace(f"state-{secrets.token_hex(4)}")
    try:
        made.create()
        yield made
    finally:
        made.remove()
    assert made.name not in Namespace.present


def test_it_tells_of_processes_logs_and_sockets(
    namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, log = tmp_path / "x.sock", tmp_path / "log"
    monkeypatch.setattr(site, "UAPI_DIR", tmp_path)
    with log.open("wb") as output:
        lives = namespace.start([sys.executable, "-c", LISTENS, str(path)], stdout=output, stderr=output)
        gone = namespace.start(["sh", "-c", "echo gone >&2; exit 7"], stdout=output, stderr=output)
    gone.wait()
    poll(lambda: "listens now" in log.read_text(), "it listens")
    with pytest.raises(TimeoutError) as caught:
        poll(lambda: False, "pigs fly", within_s=0)
    said = str(caught.value)
    assert said.startswith("not within 0 s: pigs fly; asked 1 times, the last took ")
    assert f"PID {lives.pid}: {sys.executable} -c" in said
    assert f"thread {lives.pid}: " in said
    assert f"PID {gone.pid} has ended with status 7: " in said
    assert said.count(f"the end of {log}:") == 1
    assert "listens now" in said
    assert "gone" in said
    sockets = [line for line in said.splitlines() if "LISTEN" in line and str(path) in line]
    assert len(sockets) == 1
    assert f"pid={lives.pid}" in sockets[0]
    assert f"x.sock {path.stat().st_ino}" in said
    with pytest.raises(CommandError, match=rf"it answers; asked 1 times(.|\n)*PID {lives.pid}: "):
        await_start(lives, log, lambda: False, "it answers", within_s=0)


def test_a_daemon_that_ends_at_its_start_is_not_waited_for(namespace: Namespace, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        daemon = namespace.start(["sh", "-c", "echo no TUN; exit 3"], stdout=output, stderr=output)
    with pytest.raises(CommandError, match="ended with status 3 at its start\nno TUN"):
        await_start(daemon, log, lambda: False, "it answers")
