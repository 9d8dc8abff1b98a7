"""The log of a whole daemon: readers that don't read, the background, memory that can't be locked. dropin: 2, 4."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.requirements import require_root, require_tool
from tests.runtime.daemon.test_service import PATIENCE, Foreground, answers, ask, environment, gone, until
from tests.runtime.namespace import ip, run_inside, unique

pytestmark = pytest.mark.netns

WITHOUT_IPC_LOCK = ("setpriv", "--bounding-set=-ipc_lock,-sys_resource", "--inh-caps=-ipc_lock,-sys_resource")
WITH_A_SYSTEM_LOG = """
mkdir {0}/dev && mount -t tmpfs none {0}/dev || exit 9
for node in null urandom random; do : >{0}/dev/$node && mount --bind /dev/$node {0}/dev/$node || exit 9; done
mkdir {0}/dev/net && mount --bind /dev/net {0}/dev/net && ln -s {0}/socket {0}/dev/log || exit 9
mount --rbind {0}/dev /dev && shift && exec "$@"
"""


@pytest.fixture(autouse=True)
def _requirements() -> None:
    require_root()
    for tool in ("ip", "unshare", "setpriv", "prlimit"):
        require_tool(tool)


@pytest.fixture
def name() -> str:
    return unique("pywgl")


def run(*argv: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, env=environment(**extra), capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.dropin("2", "5")
@pytest.mark.parametrize("level", ["error", "debug"])
def test_a_log_that_nobody_reads_stops_nothing(name: str, level: str) -> None:
    """Standard error is a pipe that is full from the beginning. The reader that comes back is told what it missed."""

    def test() -> None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        filled = 0
        while True:
            try:
                filled += os.write(writing, b"x" * 4096)
            except BlockingIOError:
                break
        os.set_blocking(writing, True)
        process = subprocess.Popen(
            [sys.executable, "-m", "pywg", "-f", name], env=environment(LOG_LEVEL=level), stderr=writing
        )
        os.close(writing)
        try:
            until(lambda: answers(name))
            ip("link", "set", name, "up")
            for _ in range(2000):
                assert ask(name, b"set=1\nnonsense=1\n\n") == b"errno=-22\n\n"
            until(lambda: b"listen_port=" in ask(name))
            while filled:
                filled -= len(os.read(reading, filled))
            seen = b""
            while seen.count(b"\n") < 1000:
                seen += os.read(reading, 1 << 16)
            assert b"no such key" in seen
            process.terminate()
            assert process.wait(PATIENCE) == 0
            assert gone(name)
        finally:
            process.kill()
            process.wait()
            os.close(reading)

    run_inside(test)


@pytest.mark.dropin("4")
@pytest.mark.parametrize(("level", "count"), [({}, 1), ({"LOG_LEVEL": "silent"}, 0)])
def test_errors_in_the_background_reach_the_system_log(
    name: str, level: dict[str, str], count: int, tmp_path: Path
) -> None:
    def test() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.bind(str(tmp_path / "socket"))
            command = ("unshare", "--mount", "sh", "-c", WITH_A_SYSTEM_LOG.format(tmp_path), "sh", "-")
            started = run(*command, sys.executable, "-m", "pywg", name, **level)
            assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
            assert ask(name, b"set=1\nnonsense=1\n\n") == b"errno=-22\n\n"
            ip("link", "del", name)
            until(lambda: gone(name))
            log.setblocking(False)
            heard = []
            while True:
                try:
                    heard.append(log.recv(4096).decode())
                except BlockingIOError:
                    break
        assert len(heard) == count
        for line in heard:
            assert line.startswith("<27>")
            assert f"]: ({name}) UAPI: set=1: " in line
            assert "no such key" in line

    run_inside(test)


def test_without_a_system_log_nothing_breaks(name: str, tmp_path: Path) -> None:
    """/dev/log leads nowhere."""

    def test() -> None:
        command = ("unshare", "--mount", "sh", "-c", WITH_A_SYSTEM_LOG.format(tmp_path), "sh", "-")
        started = run(*command, sys.executable, "-m", "pywg", name)
        assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
        assert ask(name, b"set=1\nnonsense=1\n\n") == b"errno=-22\n\n"
        assert answers(name)
        ip("link", "del", name)
        until(lambda: gone(name))

    run_inside(test)


@pytest.mark.parametrize("memory", ["0", "1048576"])
def test_keys_that_can_not_be_locked_are_mentioned(name: str, memory: str) -> None:
    def test() -> None:
        with Foreground(name, before=("prlimit", f"--memlock={memory}:{memory}", *WITHOUT_IPC_LOCK)) as daemon:
            until(lambda: answers(name))
            locked = b"secrets_locked=1\n" in ask(name, b"stats=1\n\n")
            daemon.process.terminate()
            assert daemon.exit_status() == 0
            said = daemon.stderr.read().decode()
        assert locked == (memory != "0")
        assert said.count("\n") == (not locked)
        assert locked or ("ERROR: " in said and "RLIMIT_MEMLOCK is 0 bytes" in said and "ulimit -l" in said)

    run_inside(test)


def test_keys_that_can_not_be_locked_later_are_mentioned_and_nobody_suspects_an_intruder(name: str) -> None:
    """The arena grows with the peers, when the sandbox is closed."""

    def test() -> None:
        memory = 1 << 16
        with Foreground(name, before=("prlimit", f"--memlock={memory}:{memory}", *WITHOUT_IPC_LOCK)) as daemon:
            until(lambda: answers(name) and b"sandbox_seccomp=1\n" in ask(name, b"stats=1\n\n"))
            assert b"secrets_locked=1\n" in ask(name, b"stats=1\n\n")
            peers = b"".join(b"public_key=%064x\npreshared_key=%064x\n" % (n, n) for n in range(1, 1500))
            assert ask(name, b"set=1\n" + peers + b"\n") == b"errno=0\n\n"
            stats = ask(name, b"stats=1\n\n")
            daemon.process.terminate()
            assert daemon.exit_status() == 0
            said = daemon.stderr.read().decode()
        assert b"secrets_locked=0\n" in stats
        assert b"sandbox_refused=0\n" in stats
        assert said.count("\n") == 1, said
        assert f"RLIMIT_MEMLOCK is {memory} bytes" in said

    run_inside(test)
