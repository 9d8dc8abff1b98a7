"""`pywg up` does all that a file says, or leaves nothing, whichever step fails or is interrupted."""

import contextlib
import errno
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from bench.tunnel.site import poll
from pywg.errors import DeviceError, WgQuickError
from pywg.manage.tunnel import daemon, dns, transaction
from pywg.manage.tunnel import state as states
from pywg.manage.tunnel.hooks import Hook
from pywg.manage.tunnel.interrupt import Interrupted, Interrupts
from pywg.manage.tunnel.machine import program
from pywg.manage.tunnel.steps import Step
from pywg.manage.tunnel.transaction import StepError, Transaction
from pywg.runtime.base import in_use

from .machine import Machine
from .quick_files import BOTH, DUAL, FILES, HEAD, NEAR, ONE, TWO, peer

EVERYTHING = (
    f"{HEAD}{DUAL}\nDNS = 10.78.0.53, example.org\nMTU = 1380\nPreUp = true %i\nPostUp = true\nPostUp = echo up %i\n"
    + peer(ONE, f"{BOTH}, 10.9.0.0/16, fd00:9::/32", NEAR)
    + peer(TWO, "10.8.0.0/16")
)
STEPS = 21
"""Of that file."""
pytestmark = pytest.mark.usefixtures("quick_daemon")


class FailsAt:
    """In place of a transaction's `run`: the step of this number is not done, and `stop` is called instead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, stop: Callable[[Transaction], None]) -> None:
        run = Transaction.run
        self.names: list[str] = []

        def counted(own: Transaction, step: Step) -> None:
            self.names.append(step.name(own._machine.interface))
            if len(self.names) - 1 == number:
                own._failing = self.names[-1]
                stop(own)
            run(own, step)

        monkeypatch.setattr(transaction.Transaction, "run", counted)


def _refuse(_: Transaction) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _interrupt(own: Transaction) -> None:
    own._machine.interrupts._handle(signal.SIGTERM, None)


def test_each_step_fails_in_turn(here: Machine) -> None:
    here.write(EVERYTHING)
    before = here.shown()
    for number in range(STEPS):
        with pytest.MonkeyPatch.context() as monkeypatch:
            fails = FailsAt(monkeypatch, number, _refuse)
            with pytest.raises(StepError) as failed:
                here.up()
            assert fails.names[-1] in str(failed.value.strerror)
            assert f"No space left on device; {here.interface} is not up, and nothing" in str(failed.value.strerror)
        assert here.shown() == before, fails.names
        here.nothing_is_remembered()
    here.nothing_runs()
    with pytest.MonkeyPatch.context() as monkeypatch:
        fails = FailsAt(monkeypatch, STEPS, _refuse)
        here.up()  # the control: there are no more, and without a failure it is all there
        assert len(fails.names) == STEPS
    assert here.shown() != before
    here.down()
    assert here.shown() == before


def test_a_signal_comes_before_each_step(here: Machine) -> None:
    here.write(EVERYTHING)
    before = here.shown()
    for number in range(STEPS):
        with pytest.MonkeyPatch.context() as monkeypatch:
            FailsAt(monkeypatch, number, _interrupt)
            with pytest.raises(Interrupted, match=r"stopped by SIGTERM; .* is not up, and nothing is left") as stopped:
                here.up()
            assert stopped.value.number == signal.SIGTERM
        assert here.shown() == before
        here.nothing_is_remembered()
    here.nothing_runs()


def test_an_undo_that_fails_is_told_and_the_others_are_done(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    here.write(EVERYTHING)
    FailsAt(monkeypatch, STEPS - 1, _refuse)

    def no_undo(*_: object) -> None:
        raise OSError(errno.EBUSY, "it is busy")

    monkeypatch.setattr(dns.Resolvconf, "undo", no_undo)
    with pytest.raises(StepError, match=r"could not be undone: .*resolvconf -a .* \(it is busy\)"):
        here.up()
    (here.folder / "servers").unlink()
    here.nothing_runs()


WRONG: dict[str, tuple[str, type[Exception], str]] = {
    "PreUp": (f"{HEAD}PreUp = exit 3\n", StepError, "PreUp `exit 3`: it ended with status 3"),
    "PostUp": (f"{HEAD}{DUAL}\nPostUp = kill -9 $$\n", StepError, r"PostUp `kill -9 \$\$`: it was ended by SIGKILL"),
    "a host that is not there": (
        f"{HEAD}{DUAL}\n" + peer(ONE, BOTH, "Endpoint = host.invalid:51820\n"),
        WgQuickError,
        r"\.conf:\d+:12: Endpoint: 'host.invalid' has no address: ",
    ),
    "a zone that is not there": (
        f"{HEAD}{DUAL}\n" + peer(ONE, BOTH, "Endpoint = [fe80::1%nowhere]:51820\n"),
        WgQuickError,
        "Endpoint: 'fe80::1%nowhere' has no address",
    ),
    "a table that is not there": (f"{HEAD}Table = nowhere\n", WgQuickError, "no routing table is called 'nowhere'"),
    "a route that is there": (
        f"{HEAD}{DUAL}\n" + peer(ONE, "10.77.0.0/24, 10.99.0.0/24", NEAR).replace("10.77.0.0/24", "10.76.9.0/24"),
        StepError,
        r"`ip -4 route add 10.76.9.0/24 dev \S+`: there is such a route already, see `ip -4 route show 10.76.9.0/24`",
    ),
    "an unusable key": ("[Interface]\nPrivateKey = x\n", WgQuickError, "PrivateKey"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_really_fails(here: Machine, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    text, kind, said = WRONG[what]
    ask = socket.getaddrinfo

    def no_server(host: str, *rest: Any, **more: Any) -> Any:
        return ask(host, *rest, **more | {"flags": socket.AI_NUMERICHOST})

    monkeypatch.setattr(socket, "getaddrinfo", no_server)
    here.namespace.run("ip", "route", "replace", "10.76.9.0/24", "via", "10.77.0.3")
    here.write(text)
    before = here.shown()
    try:
        with pytest.raises((StepError, WgQuickError), match=said) as failed:
            here.up()
        assert "\n" not in str(failed.value)
        assert isinstance(failed.value, StepError | kind)
        assert here.shown() == before
        here.nothing_runs()
    finally:
        here.namespace.run("ip", "route", "del", "10.76.9.0/24")


@pytest.mark.parametrize("tool", ["nft", "resolvconf"])
def test_a_tool_that_fails(here: Machine, tool: str) -> None:
    here.write(EVERYTHING)
    before = here.shown()
    script = here.folder / "bin" / tool
    kept = script.read_text() if script.exists() else None
    script.write_text(f"#!/bin/sh\necho {tool}: out of order >&2\nexit 1\n")
    script.chmod(0o755)
    try:
        with pytest.raises(StepError, match=f"{tool}: out of order; "):
            here.up()
    finally:
        script.unlink() if kept is None else script.write_text(kept)
    assert here.shown() == before
    here.nothing_runs()


def test_a_daemon_that_does_not_start(here: Machine) -> None:
    here.write(EVERYTHING)
    before = here.shown()
    script = here.folder / "bin" / "daemon"
    script.write_text("#!/bin/sh\necho pywg: out of order >&2\nexit 1\n")
    with pytest.raises(StepError, match=rf"`pywg run {here.interface}`: out of order; "):
        here.up()
    assert here.shown() == before
    here.nothing_runs()


def test_a_name_that_is_taken(here: Machine) -> None:
    here.write(FILES["dual stack"])
    here.namespace.run("ip", "link", "add", here.interface, "type", "veth", "peer", "other")
    with pytest.raises(DeviceError, match="is taken by another interface"):
        here.up()
    with pytest.raises(DeviceError, match="it is another interface"):
        here.down()
    assert here.interface in here.namespace.run("ip", "link")
    here.namespace.run("ip", "link", "del", here.interface)
    here.up()
    shown = here.shown()
    with pytest.raises(
        DeviceError, match=rf"is in use: .* `pywg down {here.interface}`.*; `pywg reload {here.interface}` applies"
    ):
        here.up()
    assert here.shown() == shown
    here.down()
    with pytest.raises(DeviceError, match=f"is not up: `pywg up {here.interface}` sets it up"):
        here.down()


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "stays"])
def test_a_daemon_whose_interface_is_gone_is_waited_for(
    here: Machine, monkeypatch: pytest.MonkeyPatch, *, ends: bool
) -> None:
    """wg-quick deletes the interface and does not wait: the daemon, which is late to see it, answers for a while."""
    here.write(FILES["dual stack"])
    here.up()
    pids = here.namespace.pids()
    found = in_use.daemon_here

    def found_then_woken(interface: str) -> in_use.Daemon | None:
        answer = found(interface)
        if answer is not None and ends:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        return answer

    monkeypatch.setattr(daemon, "daemon_here", found_then_woken)
    monkeypatch.setattr(daemon, "_END_S", 20.0 if ends else 0.1)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        here.namespace.run("ip", "link", "del", here.interface)
        with contextlib.nullcontext() if ends else pytest.raises(DeviceError, match="is in use"):
            here.up()
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    if ends:
        here.down()
    poll(lambda: here.namespace.pids() == [], "no process is left")
    states.forget(here.interface)


def test_a_command_that_is_killed_leaves_what_the_next_takes_away(here: Machine) -> None:
    """At each of the steps whose effect outlives the interface."""
    here.write(EVERYTHING)
    before = here.shown()
    for again in (here.down, lambda: here.up() and here.down()):
        with pytest.MonkeyPatch.context() as monkeypatch:

            def killed(own: Transaction, *_: object) -> None:
                """What a killed process does for its steps."""

            monkeypatch.setattr(Transaction, "__exit__", killed)
            FailsAt(monkeypatch, STEPS - 1, _refuse)
            with pytest.raises(OSError, match="No space"):
                here.up()
        assert here.shown() != before
        here.namespace.run("ip", "link", "del", here.interface)
        poll(lambda: not here.socket.exists(), "the daemon has ended")
        again()
        assert here.shown() == before
        here.nothing_runs()


HOOKED = f"{HEAD}{DUAL}\nPostUp = echo up >> LOG\nPreDown = echo pre >> LOG; false\nPostDown = echo down >> LOG\n"


def test_hooks_of_an_interface_that_was_lost_run_when_it_is_cleaned_up(
    here: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """By `down` and by the next `up`: what its PostUp did would stand twice otherwise. One that fails stops nothing."""

    def lose() -> None:
        here.namespace.run("ip", "link", "del", here.interface)
        poll(lambda: not here.socket.exists(), "the daemon has ended")

    here.write(HOOKED)
    before = here.shown()
    here.up()
    assert here.logged() == ["up"]
    lose()
    here.up()
    assert here.logged() == ["pre", "down", "up"]
    assert f"{here.interface} was gone" in capsys.readouterr().err
    lose()
    assert here.down() == [f"{here.interface} was gone; what it had left is removed"]
    assert here.logged() == ["pre", "down"]
    assert here.shown() == before
    here.nothing_runs()


def test_hooks_of_an_up_that_did_not_end_do_not_run(here: Machine) -> None:
    """As with wg-quick."""
    here.write(HOOKED)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Transaction, "__exit__", lambda *_: None)  # what a killed process does
        monkeypatch.setattr(Hook, "do", _no_space)
        with pytest.raises(OSError, match="No space"):
            here.up()
    here.namespace.run("ip", "link", "del", here.interface)
    poll(lambda: not here.socket.exists(), "the daemon has ended")
    with contextlib.suppress(DeviceError):
        here.down()
    assert here.logged() == []
    here.nothing_runs()


def test_ipv6_that_is_turned_off(here: Machine) -> None:
    here.write(f"{HEAD}{DUAL}\n")
    before = here.shown()
    here.namespace.run("sysctl", "-q", "net.ipv6.conf.default.disable_ipv6=1")
    try:
        with pytest.raises(StepError, match="IPv6 is turned off on this machine"):
            here.up()
    finally:
        here.namespace.run("sysctl", "-q", "net.ipv6.conf.default.disable_ipv6=0")
    assert here.shown() == before
    here.nothing_runs()


@pytest.mark.parametrize("text", ["", "[Interface]\nnonsense\n", None, f"{HEAD}PostDown = echo new >> LOG\n"])
def test_down_undoes_what_was_done_whatever_has_become_of_the_file(here: Machine, text: str | None) -> None:
    here.write(f"{EVERYTHING}[Interface]\nPreDown = echo pre %i >> LOG\nPostDown = echo old >> LOG\n")
    before = here.shown()
    here.up()
    if text is None:
        here.path.unlink()
    else:
        here.write(text)
    here.down()
    assert here.shown() == before
    here.nothing_runs()
    old = [f"pre {here.interface}", "old"]
    assert here.logged() == {"": [], None: old, "[Interface]\nnonsense\n": old}.get(text, ["new"])


def test_a_hook_that_keeps_it_up(here: Machine) -> None:
    here.write(f"{HEAD}{DUAL}\nPreDown = exit 1\n")
    here.up()
    shown = here.shown()
    with pytest.raises(StepError, match=r"PreDown `exit 1`: it ended with status 1; .* is still up"):
        here.down()
    assert here.shown() == shown
    here.write(f"{HEAD}{DUAL}\nPostDown = exit 1\n")
    with pytest.raises(StepError, match=r"PostDown `exit 1`: it ended with status 1; .* is down"):
        here.down()
    here.nothing_runs()


def test_one_command_at_a_time(here: Machine) -> None:
    here.write(FILES["dual stack"])
    busy = pytest.raises(DeviceError, match=rf"at the moment \(PID {os.getpid()}\)")
    with here.namespace.entered(), states.locked(here.interface), busy:
        here.up()
    here.up()
    here.down()
    here.nothing_runs()


@pytest.mark.parametrize("method", ["__init__", "wait"])
def test_a_hook_is_ended_by_a_signal(here: Machine, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """A signal that comes while a hook is started or runs ends the hook, not only the wait for it."""
    here.write(f"{HEAD}{DUAL}\nPostUp = echo $$ >> LOG; exec sleep 1000\n")
    before = here.shown()
    handlers: list[Interrupts] = []
    enter, real = Interrupts.__enter__, getattr(subprocess.Popen, method)

    def entered(own: Interrupts) -> Interrupts:
        handlers.append(own)
        return enter(own)

    def comes() -> None:
        here.hook_runs()
        handlers[-1]._handle(signal.SIGINT, None)

    def init(process: Any, argv: Any, *rest: Any, **more: Any) -> None:
        real(process, argv, *rest, **more)
        if argv[0] == program("bash"):
            comes()

    def wait(process: Any, timeout: float | None = None) -> Any:
        if timeout is None and process.args[0] == program("bash"):
            comes()
        return real(process, timeout)

    monkeypatch.setattr(Interrupts, "__enter__", entered)
    monkeypatch.setattr(subprocess.Popen, method, {"__init__": init, "wait": wait}[method])
    with pytest.raises(Interrupted, match="SIGINT"):
        here.up()
    (pid,) = here.logged()
    assert not os.path.exists(f"/proc/{pid}")
    assert here.shown() == before
    here.nothing_runs()
