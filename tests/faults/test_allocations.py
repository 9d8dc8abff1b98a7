"""Allocations that fail, one after the other: an operation fails whole, with an error, and can be done afterwards.

With PYWG_LONG=1 really each of them, otherwise some of those in libcrypto and in a daemon's change of configuration.
The data plane's fail once more under ASan and UBSan: no freed memory is used on the way back, and no wild pointer.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.allocations import Allocations, build
from tests.requirements import require_root
from tests.runtime.daemon.test_service import Foreground, answers, ask, until
from tests.runtime.namespace import ip, run_inside, unique
from tests.sanitizers import ADDRESS, said

EACH = bool(os.environ.get("PYWG_LONG"))
SPARSELY = 40
ROOT = Path(__file__).parents[2]
DONE, NO_MEMORY = b"errno=0\n\n", b"errno=-12\n\n"


def test_each_allocation_of_a_plane_may_fail() -> None:
    command = [sys.executable, "-m", "tests.faults.plane_allocations", *(["--each"] if EACH else [])]
    environ = os.environ | {"LD_PRELOAD": str(build()), "PYTHONMALLOC": "malloc"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    each_has_failed(done.stdout)


def each_has_failed(told: str) -> None:
    counts = dict(line.rsplit(": ", 1) for line in told.splitlines())
    assert len(counts) == 12
    assert {name for name, count in counts.items() if count == "0"} == {"attaching sockets"}


def under_sanitizers(report: Path, *python: str) -> "subprocess.CompletedProcess[str]":
    """A command of Python whose allocations are counted, and made by ASan."""
    return subprocess.run(
        ADDRESS.command(report, *python, first=(build(),)),
        cwd=ADDRESS.directory,
        env=os.environ | {"PYTHONMALLOC": "malloc"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )


FREED = "from ctypes import *; c = CDLL(None); c.malloc.restype = c_void_p; at = c_void_p(c.malloc(64)); c.free(at)"


@pytest.mark.timeout(1800)
def test_each_allocation_of_a_plane_may_fail_under_sanitizers(tmp_path: Path) -> None:
    ADDRESS.build()
    report = tmp_path / "report"
    done = under_sanitizers(report, "-m", "tests.faults.plane_allocations", *(["--each"] if EACH else []))
    assert said(report) == []
    assert (done.returncode, done.stderr) == (0, "")
    each_has_failed(done.stdout)
    planted = tmp_path / "planted"
    assert under_sanitizers(planted, "-c", f"{FREED}; memset(at, 0, 64)").returncode != 0
    assert "heap-use-after-free" in said(planted)[0], "what is freed is seen through the library that counts"


def key(*names: object) -> str:
    return hashlib.sha256(repr(names).encode()).hexdigest()


def configuration(number: int) -> bytes:
    """All of it, so that what the daemon had before is replaced: 3 peers, and 2,000 prefixes of one of them."""
    lines = ["set=1", f"private_key={key('private', number)}", "replace_peers=true"]
    for peer in range(number, number + 3):
        lines += [f"public_key={key(peer)}", f"preshared_key={key('psk', peer, number)}", "replace_allowed_ips=true"]
        lines += [f"endpoint=127.0.0.1:{1000 + peer}", f"persistent_keepalive_interval={100 + number}"]
        lines += [f"allowed_ip=10.{peer}.{n >> 8}.{n & 255}/32" for n in range(600 if peer == number else 2)]
    return "\n".join([*lines, "", ""]).encode()


def shown(name: str) -> list[bytes]:
    """What `get` shows of the configuration."""
    changing = (b"last_handshake", b"tx_bytes", b"rx_bytes", b"listen_port")
    return [line for line in ask(name).splitlines() if not line.startswith(changing)]


@pytest.mark.netns
def test_each_allocation_of_a_daemon_that_is_configured_may_fail() -> None:
    """Most of what fails Python's reserve makes good (pywg/dataplane/sys/reserve.pyx)."""
    require_root()
    name = unique("pywgt")

    def test() -> None:
        with Allocations.of_another() as allocations, Foreground(name, environ=allocations.environ) as daemon:
            until(lambda: answers(name))
            until(lambda: b"sandbox_seccomp=1\n" in ask(name, b"stats=1\n\n"))
            ip("link", "set", name, "up")
            states = []
            for number in (10, 20, 10, 20):
                with allocations.failing():
                    assert ask(name, configuration(number)) == DONE
                states.append(shown(name))
            assert states[0] == states[2] != states[1] == states[3]
            replies = []
            for at in range(1, allocations.seen + 1, 1 if EACH else SPARSELY):
                with allocations.failing(at):
                    replies.append(ask(name, configuration(10)))
                assert shown(name) == states[0 if replies[-1] == DONE else 1], f"failing number {at}"
                assert ask(name, configuration(10)) == ask(name, configuration(20)) == DONE
                assert shown(name) == states[1]
            assert set(replies) == {DONE, NO_MEMORY}
            assert daemon.process.poll() is None
            assert b"sandbox_refused=0\n" in ask(name, b"stats=1\n\n")
            daemon.process.terminate()
            assert daemon.exit_status() == 0

    run_inside(test, timeout=600)
