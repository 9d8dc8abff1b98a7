"""The companion of `pywg up`, beside a real daemon, a real peer and a real name server whose answers change."""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel.site import poll
from tests.process_memory import memory
from tests.processes import status

from .uplinks import World, worlds

LONG = 60.0
NOBODY = "65534"
HOSTILE = "$(touch HERE); `id` \"'\\ %s ; x"
HOOK = """#!/bin/sh
env > "$0.$$.new"
{ id -u; grep -E '^Cap(Prm|Eff)' /proc/self/status; } > "$0.$$.who"
mv "$0.$$.new" "$0.$$.env"
"""


@pytest.fixture
def world(tmp_path: Path, pywg: str) -> Iterator[World]:
    with worlds(tmp_path, pywg) as made:
        yield made


@pytest.fixture
def hook() -> Iterator[Path]:
    """A program that anyone may run, in a folder where anyone may write."""
    folder = Path(tempfile.mkdtemp(prefix="pywg hook"))
    folder.chmod(0o777)
    program = folder / "a hook"
    program.write_text(HOOK)
    program.chmod(0o755)
    yield program
    shutil.rmtree(folder)


def test_peers_are_where_their_endpoints_are(world: World) -> None:
    """Four peers at a time: each waits for times of WireGuard's."""
    world.cut("lc")
    world.serve_names(ttl=5, moves="192.0.2.2", silent="192.0.2.99")
    world.write(
        "moves.test:7000",
        "silent.test:7001",
        "203.0.113.2:7002\n# pywg.Endpoints = 203.0.114.2:7002",
        "later.test:7003",
        interface="# pywg.Companion = on\n# pywg.Failback = 10",
    )
    told = subprocess.run(
        ["ip", "netns", "exec", world.near.name, world.pywg, "up", str(world.file)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "'later.test' has no address: " in told.stderr
    assert "the companion goes on asking" in told.stderr
    assert world.endpoint(1) == "192.0.2.99:7001"
    assert world.endpoint(3) == "(none)"
    world.say(silent="192.0.2.2", later="192.0.2.2")
    poll(lambda: world.is_at(0, "192.0.2.2"), "the first is up", LONG)
    world.say(moves="198.51.100.2")
    poll(lambda: world.is_at(1, "192.0.2.2"), "without an answer, the name is asked for again", LONG)
    poll(lambda: world.is_at(2, "203.0.114.2"), "the second endpoint is taken", LONG)
    with world.pings(2) as lost:
        world.cut()
        poll(lambda: world.is_at(2, "203.0.113.2"), "the first endpoint is taken again", LONG)
    assert lost() == 0
    poll(lambda: world.is_at(3, "192.0.2.2"), "one without an address gets it when there is one", LONG)
    poll(lambda: world.is_at(0, "198.51.100.2"), "a name that moves is followed when its time is over", LONG)
    world.command("down")


def test_hooks_get_the_facts_and_nothing_else(world: World, hook: Path) -> None:
    """As another user, without a shell: what the operator, a name server or a peer calls itself is text."""
    name = HOSTILE.replace("HERE", str(hook.parent / "touched"))[:64]
    hooks = f"# pywg.Hook = subscribed,handshake,peer_up {hook}"
    world.write("192.0.2.2:7000", interface=hooks, name=name)
    world.command("up")
    events = {"subscribed"}
    poll(lambda: {one["PYWG_EVENT"] for one in world.hooked(hook)} >= events, "it hears the daemon", LONG)
    world.begin_anew()
    events |= {"handshake", "peer_up"}
    poll(lambda: {one["PYWG_EVENT"] for one in world.hooked(hook)} == events, "both hooks ran", LONG)
    for told in world.hooked(hook):
        assert told["PYWG_INTERFACE"] == world.interface
        assert {key for key in told if not key.startswith("PYWG_")} <= {"PATH", "LANG", "PWD", "OLDPWD", "SHLVL", "_"}
        if told["PYWG_EVENT"] == "subscribed":
            continue
        assert told["PYWG_PEER"] == " ".join(name.split())
        assert told["PYWG_ENDPOINT"] == "192.0.2.2:7000"
    for whole in hook.parent.glob("*.env"):  # written last
        assert whole.with_suffix(".who").read_text().split() == [NOBODY, "CapPrm:", "0" * 16, "CapEff:", "0" * 16]
    assert not (hook.parent / "touched").exists()
    world.command("down")


def test_it_has_no_key_and_no_privilege(world: World, hook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYWG_SOCKET_OWNER", raising=False)  # whose user takes one capability more: below
    world.write("192.0.2.2:7000\n# pywg.Endpoints = gw.test:1", interface=f"# pywg.Hook = subscribed {hook}")
    world.command("up")
    poll(lambda: len(world.companions()) == 3, "all processes run", LONG)
    poll(lambda: len(world.hooked(hook)) > 0, "it hears the daemon", LONG)
    guardian, keeper, worker = world.companions()
    held = status(worker)
    assert held["Uid"].split()[0] == NOBODY
    assert {held[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {""}
    assert (held["NoNewPrivs"], held["Seccomp"]) == ("1", "2")
    for pid in (guardian, keeper):
        assert int(status(pid)["CapEff"], 16) == 1 << 5 | 1 << 6 | 1 << 7
    key = base64.b64decode(world.key)
    public = base64.b64decode(world.peers[0])
    for pid in (guardian, keeper, worker):
        parts = [part.data for part in memory(pid)]
        assert any(public in data for data in parts)  # the positive control
        for form in (key, world.key.encode(), key.hex().encode()):
            assert not any(form in data for data in parts)
    world.command("down")
    poll(lambda: world.companions() == [], "no process is left")


def test_a_socket_of_another_user_is_reached(world: World, hook: Path) -> None:
    world.write("192.0.2.2:7000", interface=f"# pywg.Hook = subscribed {hook}")
    world.near.run("env", "PYWG_SOCKET_OWNER=daemon", world.pywg, "up", str(world.file))
    poll(lambda: len(world.hooked(hook)) > 0, "it hears the daemon", LONG)
    assert int(status(world.companions()[0])["CapEff"], 16) & 1 << 1
    world.command("down")


def test_what_is_killed_comes_back(world: World, hook: Path) -> None:
    world.write("192.0.2.2:7000", interface=f"# pywg.Hook = subscribed {hook}")
    world.command("up")
    poll(lambda: len(world.hooked(hook)) == 1, "it hears the daemon", LONG)
    guardian, keeper, worker = world.companions()

    os.kill(worker, signal.SIGKILL)
    poll(lambda: len(world.hooked(hook)) == 2, "another worker hears the daemon", LONG)
    assert world.companions()[:2] == [guardian, keeper]

    daemon = json.loads(world.near.run(world.pywg, "status", world.interface, "--json"))["interfaces"][0]["daemon"]
    os.kill(daemon["pid"], signal.SIGKILL)
    poll(lambda: world.interface not in world.near.run("ip", "-o", "link"), "the daemon is gone")
    world.near.run(world.pywg, "run", world.interface)
    poll(lambda: len(world.hooked(hook)) == 3, "it hears the next daemon", LONG)
    assert world.companions()[:2] == [guardian, keeper]

    os.kill(keeper, signal.SIGKILL)
    poll(lambda: len(world.hooked(hook)) == 4, "another keeper hears it", LONG)
    assert world.companions()[0] == guardian

    keeper = world.companions()[1]
    os.kill(guardian, signal.SIGKILL)
    poll(lambda: len(world.hooked(hook)) == 5, "the keeper starts another, and hears it", LONG)
    assert world.companions()[0] == keeper
    world.command("reload")
    assert world.companions()[0] == keeper, "a reload finds it"

    killed(world.companions())
    poll(lambda: world.companions() == [], "nobody is left to start another")
    world.command("reload")
    poll(lambda: len(world.hooked(hook)) == 6, "a reload does", LONG)

    os.kill(world.companions()[0], signal.SIGKILL)  # and before its successor has signed
    world.command("down")
    poll(lambda: world.near.pids() == [], "no process is left")
    assert not list(Path("/run/pywg").glob(f"{world.interface}*"))


def killed(pids: list[int]) -> None:
    """All at a time: none sees another's end."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)


def test_a_start_that_fails_leaves_no_tunnel(world: World) -> None:
    world.write("192.0.2.2:7000", interface="# pywg.Hook = no_event /bin/true")
    for command in ("up", "companion"):
        done = subprocess.run(
            ["ip", "netns", "exec", world.near.name, world.pywg, command, str(world.file)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 1
        assert "there is no event 'no_event'" in done.stderr
        assert len(done.stderr.splitlines()) <= 2
    poll(lambda: world.near.pids() == [], "no process is left")
    assert world.interface not in world.near.run("ip", "-o", "link")
