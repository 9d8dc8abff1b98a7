"""What `pywg stats` says of the daemon's privileges is what /proc says, and what threads are refused. dropin: 21."""

import os
from collections.abc import Mapping

import pytest

from pywg.runtime.base.libc import CAP_NET_ADMIN, CAP_NET_BIND_SERVICE
from pywg.runtime.confine import bpf, calls, landlock
from pywg.runtime.confine.seccomp import Thread
from tests.requirements import require_root
from tests.runtime.daemon.test_service import Foreground, answers, ask, until
from tests.runtime.daemon.test_users import status
from tests.runtime.namespace import run_inside, unique
from tests.runtime.syscall_injection import inside, thread_of

pytestmark = [pytest.mark.netns, pytest.mark.dropin("21")]

NUMBERS = calls.numbers(bpf.MACHINES["x86_64"].calls)
KINDS = {Thread.SENDER: "pywg-tx", Thread.RECEIVER: "pywg-rx", Thread.HELPER: "pywg-h0"}
TRIED = {Thread.LOOP: "execve", Thread.SENDER: "openat", Thread.RECEIVER: "ptrace", Thread.HELPER: "read"}
"""A call of each kind of thread that it may not make."""
OF_THE_SANDBOX = 1 << CAP_NET_ADMIN | 1 << CAP_NET_BIND_SERVICE
NONE = -1
NOTHING = 0xFFFFFFFFFFFFFFFF


def shown(name: str) -> dict[str, int]:
    lines = [line.partition("=") for line in ask(name, b"stats=1\n\n").decode().splitlines()]
    return {key.removeprefix("sandbox_"): int(value) for key, _, value in lines if key.startswith("sandbox_")}


def is_so(pid: int) -> dict[str, int]:
    """The same, from /proc and the kernel."""
    threads = status(pid)
    loop = next(thread for thread in threads if thread["Pid"] == str(pid))
    plane = [thread for thread in threads if thread is not loop]
    assert len(plane) == len(KINDS)
    confined = {thread["NoNewPrivs"] for thread in threads} == {"1"}
    capabilities = {int(thread["CapEff"], 16) for thread in threads}
    (user,) = {int(uid) for thread in threads for uid in thread["Uid"].split()}
    filters = [thread["Seccomp_filters"] for thread in (loop, *plane)]  # against io_uring, and its own
    return {
        "no_new_privs": int(confined),
        "capabilities": int(max(capabilities) & ~OF_THE_SANDBOX == 0),
        "root": int(not os.path.samefile(f"/proc/{pid}/root", "/")),
        "user": user,
        "net_admin_dropped": int(not any(held >> CAP_NET_ADMIN & 1 for held in capabilities)),
        "landlock": landlock.abi() if confined else 0,  # /proc has nothing of it; test_sandbox_threads.py tries it
        "landlock_threads": int(confined and landlock.abi() > 0),
        "seccomp": int(loop["Seccomp"] == "2" and filters[0] == "2"),
        "seccomp_threads": int(filters[1:] == ["2"] * len(plane)),
    }


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"PYWG_USER": "nobody", "PYWG_DROP_NET_ADMIN": "1"},
        {"PYWG_SANDBOX": "0"},
        {"PYWG_SANDBOX": "0", "PYWG_USER": "nobody"},
    ],
)
def test_every_privilege_is_shown_as_it_is(variables: Mapping[str, str]) -> None:
    require_root()
    name = unique("pywgs")
    sandboxed = int("PYWG_SANDBOX" not in variables)

    def test() -> None:
        with Foreground(name, environ={"PYWG_THREADS": "3", **variables}) as daemon:
            pid = daemon.process.pid
            until(lambda: answers(name) and shown(name)["seccomp"] == sandboxed)
            before = shown(name)
            steps = is_so(pid)
            assert {key: value for key, value in before.items() if not key.startswith("refused")} == steps
            assert steps["seccomp"] == sandboxed
            for kind, call in TRIED.items():
                with inside(pid if kind is Thread.LOOP else thread_of(pid, KINDS[kind])) as thread:
                    thread.call(NUMBERS[call], *[NOTHING] * 3)
                    assert thread.refused == bool(sandboxed)
            refused = {key: value for key, value in shown(name).items() if key.startswith("refused")}
            wanted = {"refused": len(TRIED) * sandboxed, "refused_last": NUMBERS["read"] if sandboxed else NONE}
            for kind, call in TRIED.items():
                one = f"refused_{kind.name.lower()}"
                wanted |= {one: sandboxed, f"{one}_last": NUMBERS[call] if sandboxed else NONE}
            assert refused == wanted
            daemon.process.terminate()
            assert daemon.exit_status() == 0

    run_inside(test)
