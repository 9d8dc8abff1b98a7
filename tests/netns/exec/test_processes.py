"""The processes of `pywg exec`: status, signals and the terminal are the command's, and each ends with the others."""

import contextlib
import os
import pty
import select
import signal
import time
from pathlib import Path

import pytest

from .world import World, begun, daemon_of


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        (("sh", "-c", "exit 7"), 7, ""),
        (("/nowhere/at-all",), 127, "pywg: /nowhere/at-all: No such file or directory\n"),
        (("/etc/passwd",), 126, "pywg: /etc/passwd can't be executed: Permission denied\n"),
        (("sh", "-c", "kill -KILL $$"), 137, ""),
        (("sh", "-c", "kill -HUP $$"), -signal.SIGHUP, ""),
    ],
    ids=["seven", "missing", "not executable", "killed", "hung up"],
)
def test_the_status_is_the_commands(alone: World, command: tuple[str, ...], status: int, said: str) -> None:
    alone.write(endpoint="203.0.113.9")
    done = alone.run(*command)
    assert (done.status, done.err) == (status, said)


def test_signals_reach_the_command(alone: World) -> None:
    counting = (
        "trap 'echo usr1' USR1; trap 'echo term; exit 3' TERM; trap '' INT; echo begun; while :; do sleep 0.05; done"
    )
    process = begun(alone, "sh", "-c", counting)
    assert process.stdout is not None
    for number, line in ((signal.SIGUSR1, "usr1\n"), (signal.SIGTERM, "term\n")):
        process.send_signal(number)
        assert process.stdout.readline() == line
    assert process.wait(30) == 3


@pytest.mark.parametrize("of", ["outside", "inside", "command"])
def test_a_kill_leaves_nothing(alone: World, of: str) -> None:
    # What the command leaves behind ignores all that can be ignored, and is in a session of its own.
    stubborn = "trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM HUP INT; echo begun; sleep 1000' & wait; sleep 1000"
    process = begun(alone, "sh", "-c", stubborn)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (inner,) = [int(pid) for pid in children if int(pid) != daemon_of(alone, process.pid)]
    command = int(Path(f"/proc/{inner}/task/{inner}/children").read_text().split()[0])
    assert len(alone.processes()) >= 5
    os.kill({"outside": process.pid, "inside": inner, "command": command}[of], signal.SIGKILL)
    assert process.wait(30) == (-signal.SIGKILL if of == "outside" else 128 + signal.SIGKILL)
    alone.nothing_is_left()


def test_the_end_of_the_daemon_is_the_end_of_the_network(alone: World) -> None:
    gone = f"while ip link show {alone.interface} >/dev/null 2>&1; do :; done; echo gone; while :; do sleep 0.05; done"
    process = begun(alone, "sh", "-c", f"trap 'exit 9' TERM; echo begun; {gone}")
    assert process.stdout is not None
    assert process.stderr is not None
    os.kill(daemon_of(alone, process.pid), signal.SIGKILL)
    assert process.stderr.readline() == "pywg: the daemon has ended (SIGKILL): sh has no network any more\n"
    assert process.stdout.readline() == "gone\n"
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 9


class Terminal:
    """A shell at a terminal, as a user has it."""

    def __init__(self, world: World) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["PS1"] = "ready> "
            os.environ["HISTFILE"] = ""
            shell = world.as_user("bash", "--norc", "--noprofile", "-i")
            os.execvp("ip", ["ip", "netns", "exec", world.near.name, *shell])
        self.heard = ""

    def until(self, text: str) -> str:
        """All that it says up to a text, since the last."""
        end = time.monotonic() + 30
        while text not in self.heard:
            assert time.monotonic() < end, self.heard
            if select.select([self.fd], [], [], 1)[0]:
                self.heard += os.read(self.fd, 4096).decode(errors="replace")
        before, _, self.heard = self.heard.partition(text)
        return before

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.close(self.fd)
        os.waitpid(self.pid, 0)


def test_at_a_terminal(alone: World) -> None:
    alone.write(endpoint="203.0.113.9")
    terminal = Terminal(alone)
    call = f"{alone.pywg} exec {alone.file} --"
    with contextlib.closing(terminal):
        terminal.until("ready> ")
        # Ctrl-C ends the command, and a script of the shell's with it.
        terminal.type(f"for i in 1 2; do {call} sh -c 'echo be''gun; exec cat'; done; echo status $?\n")
        terminal.until("begun")
        terminal.type("\x03")
        assert "begun" not in terminal.until("ready> ")
        # Ctrl-Z stops it, and fg goes on.
        terminal.type(f"{call} sh -c 'echo be''gun; read line; echo heard $line; exit 5'\n")
        terminal.until("begun")
        terminal.type("\x1a")
        terminal.until("Stopped")
        terminal.until("ready> ")
        terminal.type("fg\n")
        terminal.until("read line")  # the shell says what goes on
        terminal.type("words\n")
        terminal.until("heard words")
        terminal.until("ready> ")
        terminal.type("echo status $?\n")
        terminal.until("status 5")
        # A shell inside has jobs of its own, and gives the terminal back.
        terminal.type(f"PS1='inner> ' {call} bash --norc --noprofile -i\n")
        terminal.until("inner> ")
        terminal.type("sh -c 'echo sle''eps; exec cat'\n")
        terminal.until("sleeps")
        terminal.type("\x1a")
        terminal.until("Stopped")
        terminal.until("inner> ")
        terminal.type("kill -STOP $$\n")
        terminal.until("ready> ")
        terminal.type("fg; echo status $?\n")
        terminal.until("inner> ")
        terminal.type("exit 4\n")
        terminal.until("There are stopped jobs")
        terminal.until("inner> ")
        terminal.type("exit 4\n")
        terminal.until("status 4")
        terminal.until("ready> ")
        terminal.type("echo rea''ds; read line; echo got $line\n")
        terminal.until("reads")
        terminal.type("more\n")
        terminal.until("got more")
