"""`pywg monitor` of real daemons: of one interface, of several in one process, over a restart, and how it ends."""

import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from bench.tunnel.site import poll

from .several import Machine, join, ping
from .test_several import machines, nothing_was_refused

__all__ = ["machines"]


class Monitor:
    """One that runs, and what it has printed."""

    def __init__(self, machine: Machine, *arguments: str) -> None:
        program = machine.program()
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", machine.namespace.name, program, "monitor", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in list(self.lines)]

    def told(self, **wanted: str) -> bool:
        return any(all(one.get(key) == value for key, value in wanted.items()) for one in self.objects())

    def times(self, event: str) -> int:
        return sum(one["event"] == event for one in self.objects())

    def end(self) -> tuple[int, str]:
        """Ctrl-C: the status, and what stands on standard error."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(30)
        self._reader.join(30)
        assert self.process.stderr is not None
        return status, self.process.stderr.read()


@pytest.mark.parametrize("machines", [2], indirect=True)
def test_two_interfaces_of_one_process_tell_their_own(machines: tuple[Machine, Machine]) -> None:
    near, far = machines
    near.start()
    far.start()
    everything = Monitor(near, "--json")
    first = Monitor(near, near.names[0], "--json")
    lines = Monitor(near, "all")
    for name in near.names:
        poll(lambda name=name: everything.told(interface=name, event="subscribed"), "it is subscribed")  # type: ignore[misc]
    poll(lambda: first.told(event="subscribed"), "it is subscribed")
    for name in near.names:
        poll(lambda name=name: any(f" {name}: " in line for line in lines.lines), "it is subscribed")  # type: ignore[misc]
    for number in range(2):
        join(near, far, number)
        ping(near, number)
    for number, name in enumerate(near.names):
        key = far.public(number)
        for event in ("interface_up", "peer_added", "configuration", "handshake", "peer_up"):
            of_peer = {"public_key": key} if event in ("peer_added", "handshake", "peer_up") else {}
            poll(
                lambda name=name, event=event, of_peer=of_peer: everything.told(interface=name, event=event, **of_peer),  # type: ignore[misc]
                f"{event} of {name}",
            )
    poll(lambda: first.told(event="peer_up", public_key=far.public(0)), "the first is told its own")
    assert {one["interface"] for one in first.objects()} == {near.names[0]}
    assert not any(
        near.keys[number] in line for one in (everything, first, lines) for number in range(2) for line in one.lines
    )

    near.namespace.run("ip", "link", "delete", near.names[0])  # one ends, the other stays
    poll(lambda: first.told(event="ending"), "its end is told")
    poll(lambda: first.told(event="disconnected"), "it waits")
    near.namespace.run("wg", "set", near.names[1], "fwmark", "7")
    poll(lambda: everything.times("configuration") >= 3, "the other tells on")
    nothing_was_refused(near, near.names[1])

    told = f" {near.names[1]}: "
    poll(lambda: any(told in line and line.endswith("is up") for line in lines.lines), "a line tells of it")
    for monitor in (everything, first, lines):
        assert monitor.end() == (0, "")


@pytest.mark.parametrize("machines", [1], indirect=True)
def test_it_outlives_the_daemon_and_ends_well(machines: tuple[Machine, Machine]) -> None:
    near, _ = machines
    near.start()
    name = near.names[0]
    monitor = Monitor(near, name, "--json")
    poll(lambda: monitor.told(event="subscribed"), "it is subscribed")
    for times, number in enumerate((signal.SIGTERM, signal.SIGKILL), 2):
        assert near.daemon is not None
        near.daemon.send_signal(number)
        near.daemon.wait()
        near.start()
        poll(lambda times=times: monitor.times("subscribed") == times, "subscribed to the next daemon")  # type: ignore[misc]
    names = [one["event"] for one in monitor.objects()]
    assert names == ["subscribed", "ending", "disconnected", "subscribed", "disconnected", "subscribed"]

    cut = subprocess.run(
        ["ip", "netns", "exec", near.namespace.name, "sh", "-c", f"{near.program()} monitor {name} | head -n 1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,  # it sees its reader go, and not first when there is something to print
    )
    assert (cut.stdout.count("\n"), cut.stderr) == (1, "")
    assert monitor.end() == (0, "")


@pytest.mark.parametrize("machines", [1], indirect=True)
def test_it_says_what_it_cannot_watch(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    near, _ = machines
    other = near.names[0]

    def said() -> tuple[int, str]:
        done = subprocess.run(
            ["ip", "netns", "exec", near.namespace.name, near.program(), "monitor", other],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ},
        )
        return done.returncode, done.stderr

    status, text = said()
    assert (status, len(text.splitlines())) == (1, 1)
    assert "no daemon answers" in text
    near.namespace.run("wireguard-go", other)
    status, text = said()
    assert (status, len(text.splitlines())) == (1, 1)
    assert "tells no events" in text
