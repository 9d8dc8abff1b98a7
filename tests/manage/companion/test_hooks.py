"""Hooks: what is run, with what, and its limits."""

import os
import time
from pathlib import Path

import pytest

from bench.tunnel.site import poll
from pywg.config.quick_extensions import HookSetting
from pywg.config.uapi_event_reader import Event
from pywg.config.uapi_events import FACTS
from pywg.manage.companion.hooks import AT_ONCE, BURST, TIMEOUT_S, WAITING, Hooks, environment
from pywg.manage.reasons import REASONS
from tests.processes import has_ended

HOSTILE = "$(id) `id` ; & | > < ' \" \\ %s \u202e"


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def run_all(hooks: Hooks) -> None:
    until = time.monotonic() + 30
    while hooks.work() is not None:
        assert time.monotonic() < until


def event(name: str = "handshake", **facts: str) -> Event:
    return Event(name, 5.0, facts)


def test_facts_are_text_whatever_they_are() -> None:
    told = environment(
        "wg0", event(public_key="ab", trouble=HOSTILE[:-2], bad="a\0b", line="a\nb", **{"x=y": "z"}), HOSTILE
    )
    assert told["PYWG_TROUBLE"] == HOSTILE[:-2]
    assert told["PYWG_PEER"] == HOSTILE
    assert set(told) == {
        *("PATH", "LANG", "PYWG_INTERFACE", "PYWG_EVENT", "PYWG_TIME"),
        *("PYWG_PUBLIC_KEY", "PYWG_TROUBLE", "PYWG_PEER"),
    }


def test_facts_become_no_other_variables() -> None:
    """A daemon or worker that was broken into tells them: an option, for a pywg that the hook calls, is no fact."""
    wrong = ("log_file", "sandbox", "user", "interface", "event", "time", "peer", "companion_ready_fd")
    plain = environment("wg0", event(), None)
    assert environment("wg0", event(**dict.fromkeys(wrong, "x")), None) == plain
    right = (*FACTS, *REASONS)
    told = environment("wg0", event(**dict.fromkeys(right, "x")), None)
    assert told.keys() - plain.keys() == {f"PYWG_{name.upper()}" for name in right}


def test_what_is_no_event_runs_nothing(tmp_path: Path) -> None:
    program = script(tmp_path / "hook", 'touch "$0.ran"')
    hooks = Hooks("wg0", [HookSetting(("all",), program)], account=None, say=lambda _: None)
    hooks.on(event("x\n$(id)"), None)
    assert not hooks._queue
    assert not hooks._running
    hooks.on(event(), None)
    run_all(hooks)
    assert (tmp_path / "hook.ran").exists()


def test_those_of_the_event_run_and_no_others(tmp_path: Path) -> None:
    program = script(tmp_path / "hook", 'echo "$PYWG_EVENT $PYWG_PEER $PYWG_ENDPOINT" >> "$0.log"; env > "$0.env"')
    other = script(tmp_path / "other", 'echo ran >> "$0.log"')
    settings = [HookSetting(("handshake",), program), HookSetting(("drops",), other), HookSetting(("all",), program)]
    said: list[str] = []
    os.environ["LEAKED"] = "secret"
    hooks = Hooks("wg0", settings, account=None, say=said.append)
    hooks.on(event(endpoint="$(touch x)"), "a `b`")
    run_all(hooks)
    assert (tmp_path / "hook.log").read_text() == "handshake a `b` $(touch x)\n" * 2
    assert "LEAKED" not in (tmp_path / "hook.env").read_text()
    assert not (tmp_path / "other.log").exists()
    assert said == []


def test_few_run_at_once_and_a_burst_is_cut(tmp_path: Path) -> None:
    go = tmp_path / "go"
    program = script(tmp_path / "hook", f'touch "$0.$$.began"; while [ ! -e {go} ]; do sleep 0.01; done')
    now = [0.0]
    said: list[str] = []
    hooks = Hooks("wg0", [HookSetting(("all",), program)], account=None, say=said.append, now=lambda: now[0])
    try:
        for _ in range(AT_ONCE + WAITING + 50):
            hooks.on(event(), None)
        assert len(hooks._running) == AT_ONCE
        assert hooks.left_out == 50
        assert 0 < len(said) < 10
        go.touch()
        until = time.monotonic() + 30
        while hooks._running:
            hooks.work()
            assert time.monotonic() < until
        assert len(hooks._queue) == AT_ONCE + WAITING - BURST  # the rate: no time has passed
        now[0] += 1
        hooks.work()
        assert len(hooks._queue) < AT_ONCE + WAITING - BURST
    finally:
        hooks.close()


def test_one_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    program = script(tmp_path / "hook", 'sleep 1000 & echo $! > "$0.pid"; wait')
    now = [0.0]
    said: list[str] = []
    hooks = Hooks("wg0", [HookSetting(("all",), program)], account=None, say=said.append, now=lambda: now[0])
    hooks.on(event(), None)
    file = tmp_path / "hook.pid"
    poll(lambda: file.exists() and file.read_text().endswith("\n"), "its child runs")
    hooks.work()
    assert said == []
    now[0] = TIMEOUT_S
    run_all(hooks)
    assert "was killed" in said[0]
    poll(lambda: has_ended(int(file.read_text())), "its child has ended")


@pytest.mark.parametrize("what", ["missing", "not executable", "no program"])
def test_one_that_cannot_run_is_told_of(tmp_path: Path, what: str) -> None:
    program = tmp_path / "hook"
    if what != "missing":
        program.write_bytes(b"\x7f no program")
        program.chmod(0o755 if what == "no program" else 0o600)
    said: list[str] = []
    hooks = Hooks("wg0", [HookSetting(("all",), str(program))], account=None, say=said.append)
    hooks.on(event(), None)
    run_all(hooks)
    assert "can't be run" in said[0]
