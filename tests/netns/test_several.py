"""One daemon of several interfaces: each works, is asked, is logged and ends as if it were alone."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel.command import CommandError
from bench.tunnel.implementations import find
from bench.tunnel.site import poll

from .dropin import daemon_pids
from .several import FOLDER, Machine, join, ping, two_machines
from .without_sandbox import SANDBOXED


@pytest.fixture
def machines(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Machine, Machine]]:
    """As many interfaces each as the parameter says."""
    with two_machines(tmp_path, request.param) as made:
        yield made


def nothing_was_refused(machine: Machine, name: str) -> None:
    if SANDBOXED:
        stats = machine.stats(name)
        assert stats["sandbox_refused"] == "0", [machine.log.read_text()]


def status_of_threads(pid: int) -> list[dict[str, str]]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it ended meanwhile
            lines = (task / "status").read_text().splitlines()
            found.append({key: value.strip() for key, value in (line.split(":", 1) for line in lines)})
    return found


@pytest.mark.parametrize("machines", [2], indirect=True)
def test_two_interfaces_and_one_ends(machines: tuple[Machine, Machine]) -> None:
    """Traffic through both; one is deleted, the other's configuration socket removed: each end is one's own."""
    near, far = machines
    near.start()
    far.start("--threads", "3")
    first, second = near.names
    for number in range(2):
        join(near, far, number)
        ping(near, number)
    daemon = near.daemon
    assert daemon is not None
    if SANDBOXED:
        poll(lambda: near.stats(second)["sandbox_seccomp"] == "1", "the sandbox is closed")
        threads = status_of_threads(daemon.pid)
        assert sorted(one["Name"] for one in threads) == ["pywg", *["pywg-rx"] * 2, *["pywg-tx"] * 2]
        assert {one["Seccomp"] for one in threads} == {"2"}
        assert {int(one["CapEff"], 16) for one in threads if one["Name"] != "pywg"} == {0}
        assert near.stats(first)["sandbox_seccomp_threads"] == near.stats(first)["sandbox_root"] == "1"
        assert far.stats(far.names[1])["threads"] == "3"
    near.namespace.run(find("pywg").command[0], "log", first, "error")
    near.namespace.run("ip", "link", "del", first)
    poll(lambda: near.gone(first), f"{first} is gone")
    ping(near, 1)
    assert daemon.poll() is None
    assert not near.answers(first)
    assert not near.said(first, "shutting down")  # its log ends at errors
    nothing_was_refused(near, second)
    names = ["pywg", "pywg-rx", "pywg-tx"]
    poll(lambda: sorted(one["Name"] for one in status_of_threads(daemon.pid)) == names, "its threads have ended")
    # The other machine keeps both, and one whose socket is removed goes as the last one does.
    (FOLDER / f"{far.names[0]}.sock").unlink()
    poll(lambda: far.gone(far.names[0]), f"{far.names[0]} is gone")
    assert far.said(far.names[0], "the configuration socket was removed: shutting down")
    assert not far.said(far.names[1], "shutting down")
    ping(near, 1)
    nothing_was_refused(far, far.names[1])
    (FOLDER / f"{second}.sock").unlink()
    assert daemon.wait(10) == 0
    assert near.gone(second)
    assert near.said(second, "the configuration socket was removed: shutting down")


@pytest.mark.parametrize("machines", [2], indirect=True)
def test_sigterm_ends_all(machines: tuple[Machine, Machine]) -> None:
    near, _ = machines
    near.start()
    daemon = near.daemon
    assert daemon is not None
    os.kill(daemon.pid, signal.SIGTERM)
    assert daemon.wait(10) == 0
    assert all(map(near.gone, near.names))
    assert all(near.said(name, "SIGTERM received: shutting down") for name in near.names)


@pytest.mark.parametrize("machines", [2], indirect=True)
def test_where_one_can_not_be_had_none_is_served(machines: tuple[Machine, Machine]) -> None:
    near, _ = machines
    near.namespace.run("ip", "link", "add", near.names[1], "type", "veth", "peer", "name", "other")
    with pytest.raises(CommandError, match=near.names[1]):
        near.namespace.run(find("pywg").command[0], "run", *near.names)
    assert near.gone(near.names[0])
    assert not (FOLDER / f"{near.names[1]}.sock").exists()


@pytest.mark.parametrize("machines", [2], indirect=True)
def test_another_user_removes_each_socket(machines: tuple[Machine, Machine]) -> None:
    """The sockets lie in root's folder, and the daemon is nobody by then."""
    near, _ = machines
    near.start("--user", "nobody")
    first, second = near.names
    near.namespace.run("ip", "link", "del", first)
    poll(lambda: near.gone(first), f"{first} is gone")
    assert near.answers(second)
    assert (FOLDER / f"{second}.sock").exists()
    near.namespace.run("ip", "link", "del", second)
    assert near.daemon is not None
    assert near.daemon.wait(10) == 0
    assert near.gone(second)


@pytest.mark.parametrize("machines", [20], indirect=True)
def test_twenty_in_the_background(machines: tuple[Machine, Machine]) -> None:
    near, far = machines
    for machine in machines:
        machine.namespace.run(find("pywg").command[0], "run", *machine.names)
        assert all(map(machine.answers, machine.names))
        assert len(daemon_pids(machine.namespace)) == 1
    for number in (0, 7, 19):
        join(near, far, number)
        ping(near, number)
    near.namespace.run(find("pywg").command[0], "down", near.names[7])
    poll(lambda: near.gone(near.names[7]), f"{near.names[7]} is gone")
    ping(near, 19)
    for machine in machines:
        (pid,) = daemon_pids(machine.namespace)
        os.kill(pid, signal.SIGTERM)
        poll(lambda: all(map(machine.gone, machine.names)), "all are gone")  # noqa: B023
