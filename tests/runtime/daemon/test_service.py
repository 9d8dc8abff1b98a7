"""The daemon as a process: ready, refused, ended. dropin: 1 to 6."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.requirements import require_root, require_tool
from tests.runtime.namespace import ip, run_inside, unique

pytestmark = pytest.mark.netns
DIRECTORY = "/var/run/wireguard"
PATIENCE = 30.0


@pytest.fixture(autouse=True)
def _requirements() -> None:
    require_root()
    require_tool("ip")


@pytest.fixture
def name() -> str:
    return unique("pywgt")


def environment(**extra: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WG_", "PYWG_", "LOG_LEVEL"))}
    return kept | extra


def pywg(*arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pywg", *arguments],
        env=environment(**environ or {}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def ask(name: str, request: bytes = b"get=1\n\n") -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(f"{DIRECTORY}/{name}.sock")
        sock.sendall(request)
        reply = b""
        while not reply.endswith(b"\n\n"):
            received = sock.recv(1 << 16)
            assert received
            reply += received
        return reply


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def gone(name: str) -> bool:
    return not os.path.exists(f"{DIRECTORY}/{name}.sock") and name not in ip("link")


def answers(name: str) -> bool:
    try:
        return ask(name).endswith(b"errno=0\n\n")
    except OSError:
        return False


class Foreground:
    """A daemon with -f that answers; `before` is the command that runs it, as in `nice pywg`."""

    def __init__(
        self,
        name: str,
        *,
        before: tuple[str, ...] = (),
        fds: tuple[int, ...] = (),
        environ: Mapping[str, str] | None = None,
        **more: str,
    ) -> None:
        command = [*before, sys.executable, "-m", "pywg", "-f", name]
        self.process = subprocess.Popen(
            command, env=environment(**environ or {}, **more), stderr=subprocess.PIPE, pass_fds=fds
        )
        assert self.process.stderr is not None
        self.stderr = self.process.stderr

    def __enter__(self) -> "Foreground":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self.stderr.close()

    def exit_status(self) -> int:
        return self.process.wait(PATIENCE)


@pytest.mark.dropin("1", "4")
def test_background_is_ready_when_the_parent_returns(name: str) -> None:
    def test() -> None:
        started = pywg(name)
        assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
        assert ask(name) == b"errno=0\n\n"
        assert name in ip("link")
        os.unlink(f"{DIRECTORY}/{name}.sock")
        until(lambda: gone(name))

    run_inside(test)


def test_a_log_file_works_behind_the_sandbox(name: str, tmp_path: Path) -> None:
    """In the background, and with nothing on standard error."""
    path = tmp_path / "pywg.log"

    def test() -> None:
        started = pywg("--verbose", "--log-file", str(path), name)
        assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
        until(lambda: "ready" in path.read_text())
        ip("link", "del", name)
        until(lambda: "shutting down" in path.read_text())
        until(lambda: gone(name))

    run_inside(test)


@pytest.mark.parametrize("options", [(), ("--log-file",), ("--verbose",)])
def test_at_a_terminal_a_start_says_what_runs(name: str, tmp_path: Path, options: tuple[str, ...]) -> None:
    more = [*options, str(tmp_path / "log")] if options == ("--log-file",) else [*options]

    def test() -> None:
        far, near = pty.openpty()
        command = [sys.executable, "-m", "pywg", *more, name]
        assert subprocess.run(command, env=environment(), stderr=near, timeout=30, check=False).returncode == 0
        said = ""
        while f"pywg down {name}" not in said:  # the kernel may hand it on line by line
            assert select.select([far], [], [], PATIENCE)[0], said
            said += os.read(far, 1 << 16).decode()
        lines = [line for line in said.splitlines() if line.startswith("pywg: ")]
        match = re.fullmatch(rf"pywg: {name} is served in the background by PID (\d+), which logs to (.*)", lines[0])
        assert match is not None
        assert name in Path(f"/proc/{match[1]}/cmdline").read_text().split("\0")
        place = {(): "the system's log", ("--log-file",): str(tmp_path / "log"), ("--verbose",): "this terminal"}
        assert match[2].startswith(place[options])
        assert f"pywg down {name}" in lines[1]
        ip("link", "del", name)
        until(lambda: gone(name))

    run_inside(test)


@pytest.mark.dropin("5")
@pytest.mark.parametrize("way", ["SIGTERM", "SIGINT", "link", "socket"])
def test_what_ends_it(name: str, way: str) -> None:
    def test() -> None:
        with Foreground(name) as daemon:
            until(lambda: answers(name))
            ip("link", "set", name, "up")
            until(lambda: b"listen_port=" in ask(name))
            if way == "link":
                ip("link", "del", name)
            elif way == "socket":
                os.unlink(f"{DIRECTORY}/{name}.sock")
            else:
                daemon.process.send_signal(signal.Signals[way])
            assert daemon.exit_status() == 0
            assert gone(name)

    run_inside(test)


@pytest.mark.dropin("5")
def test_sighup_does_nothing(name: str) -> None:
    def test() -> None:
        with Foreground(name) as daemon:
            until(lambda: answers(name))
            daemon.process.send_signal(signal.SIGHUP)
            assert answers(name)
            daemon.process.terminate()
            assert daemon.exit_status() == 0

    run_inside(test)


def test_the_process_gives_nothing_away(name: str) -> None:
    def test() -> None:
        with Foreground(name) as daemon:
            until(lambda: answers(name))
            with open(f"/proc/{daemon.process.pid}/limits") as limits:
                (core,) = [line.split() for line in limits if line.startswith("Max core file size")]
            assert core[4:6] == ["0", "0"]
            # A process that is not dumpable has its /proc files owned by root; ask as another user what it runs.
            probe = f"import os; os.setuid(65534); os.readlink('/proc/{daemon.process.pid}/exe')"
            refused = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False)
            assert b"PermissionError" in refused.stderr
            daemon.process.terminate()
            assert daemon.exit_status() == 0

    run_inside(test)


@pytest.mark.dropin("4")
@pytest.mark.parametrize("arguments", [(), ("-f",)], ids=["background", "foreground"])
def test_a_taken_name_is_one_line_and_status_1(name: str, arguments: tuple[str, ...]) -> None:
    def test() -> None:
        ip("link", "add", name, "type", "veth")
        refused = pywg(*arguments, name)
        assert refused.returncode == 1
        assert refused.stdout == ""
        assert refused.stderr.count("\n") == 1
        assert f"the name {name} is taken" in refused.stderr

    run_inside(test)


@pytest.mark.dropin("6")
def test_a_live_daemon_keeps_its_name_in_another_namespace(name: str) -> None:
    def test() -> None:
        with Foreground(name) as daemon:
            until(lambda: answers(name))

            def elsewhere() -> None:
                refused = pywg(name)
                assert refused.returncode == 1
                assert f"{name} is in use" in refused.stderr
                assert name not in ip("link")

            run_inside(elsewhere)
            assert answers(name)
            daemon.process.terminate()
            assert daemon.exit_status() == 0

    run_inside(test)


@pytest.mark.dropin("3", "4")
@pytest.mark.parametrize(
    ("variable", "value"),
    [("WG_TUN_FD", "x"), ("WG_TUN_FD", "987"), ("WG_UAPI_FD", "987"), ("PYWG_UDP_GSO", "2")],
)
def test_a_wrong_variable_is_named_and_nothing_stays(name: str, variable: str, value: str) -> None:
    def test() -> None:
        refused = pywg(name, environ={variable: value})
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1
        assert variable in refused.stderr
        assert value in refused.stderr
        assert gone(name)

    run_inside(test)


@pytest.mark.dropin("2")
def test_variables_that_belong_to_nobody_stop_no_tunnel(name: str) -> None:
    def test() -> None:
        with Foreground(name, LOG_LEVEL="loud", WATCHDOG_USEC="soon", NOTIFY_SOCKET="/nonexistent/socket") as daemon:
            until(lambda: answers(name))
            daemon.process.terminate()
            assert daemon.exit_status() == 0
            lines = daemon.stderr.read().decode().splitlines()
        assert [line.split(") ")[0].split(" (")[0] for line in lines] == ["ERROR:", "ERROR:"]
        assert "LOG_LEVEL='loud'" in lines[0]
        assert "WATCHDOG_USEC='soon'" in lines[1]

    run_inside(test)


@pytest.mark.dropin("3")
def test_inherited_descriptors(name: str, tmp_path: Path) -> None:
    def test() -> None:
        from pywg.runtime.net.tun import open_tun

        made = open_tun(name)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = str(tmp_path / "socket")
        listener.bind(path)
        listener.listen()
        fds = (made.fd, listener.fileno())
        extra = {"WG_TUN_FD": str(fds[0]), "WG_UAPI_FD": str(fds[1]), "WG_PROCESS_FOREGROUND": "1"}
        extra["LOG_LEVEL"] = "info"
        with Foreground("ignored0", fds=fds, environ=extra) as daemon:
            made.close()
            listener.close()
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.connect(path)
                client.sendall(b"get=1\n\n")
                assert client.recv(100) == b"errno=0\n\n"
            daemon.process.terminate()
            assert daemon.exit_status() == 0
            assert f"INFO: ({name}) ".encode() in daemon.stderr.read()
        assert not os.path.exists(path)
        assert name not in ip("link")

    run_inside(test)


@pytest.mark.dropin("2")
def test_the_log_level_is_changed_and_lines_are_json(name: str) -> None:
    def test() -> None:
        with Foreground(name, PYWG_LOG_FORMAT="json") as daemon:
            until(lambda: answers(name))
            loud = pywg("log", name, "loud")
            assert (loud.returncode, loud.stderr.count("\n")) == (2, 1)
            assert "'loud' is no log level" in loud.stderr
            assert pywg("log", name, "info").returncode == 0
            daemon.process.terminate()
            assert daemon.exit_status() == 0
            lines = [json.loads(line) for line in daemon.stderr.read().splitlines()]
            assert [(line["interface"], line["level"]) for line in lines] == [(name, "info")]
            assert "SIGTERM" in lines[0]["message"]
        assert pywg("log", name, "info").returncode == 1

    run_inside(test)


def test_a_background_daemon_is_in_the_sandbox_too(name: str) -> None:
    def test() -> None:
        started = pywg(name)
        assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
        until(lambda: b"sandbox_seccomp=1\n" in ask(name, b"stats=1\n\n"))
        ip("link", "del", name)
        until(lambda: gone(name))

    run_inside(test)


def test_stats_of_a_daemon_and_of_none(name: str) -> None:
    def test() -> None:
        missing = pywg("stats", name)
        assert missing.returncode == 1
        assert f"no daemon answers for {name}" in missing.stderr
        with Foreground(name, PYWG_UDP_GSO_EQUAL_TAIL="0", LOG_LEVEL="verbose") as daemon:
            until(lambda: answers(name))
            shown = pywg("stats", name)
            assert shown.returncode == 0
            values = dict(line.split("=") for line in shown.stdout.splitlines())
            assert (values["up"], values["mtu"], values["peers"]) == ("0", "1420", "0")
            assert values["offload_udp_gso_equal_tail"] == "0"
            assert int(values["memory_ceiling"]) > int(values["memory_tx_buffers"]) > 0
            daemon.process.terminate()
            assert daemon.exit_status() == 0
            assert re.search(rb"data plane: at most \d+\.\d MiB without peers", daemon.stderr.read())

    run_inside(test)
