"""`pywg up`, `down` and `reload` as programs: what is printed where, statuses, signals, users, and real daemons."""

import os
import pty
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel.command import CommandError

from .dropin import daemon_pids
from .machine import Machine
from .quick_files import BOTH, DUAL, FILES, HEAD, KEY, NEAR, ONE, PSK, TWO, peer

STATE = Path("/run/pywg")


@pytest.fixture
def ours(here: Machine, pywg: str) -> Iterator["Ours"]:
    one = Ours(here, pywg)
    yield one
    one.state.unlink(missing_ok=True)


class Ours:
    """The program."""

    def __init__(self, here: Machine, program: str) -> None:
        self.here = here
        self.program = program
        self.state = STATE / f"{here.interface}.json"

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Its status, output and errors; neither is a terminal."""
        done = subprocess.run(self._argv(*arguments), capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    def at_a_terminal(self, *arguments: str) -> str:
        """What a person sees."""
        near, far = pty.openpty()
        with open(near, "rb", buffering=0) as seen:
            status = subprocess.run(self._argv(*arguments), stdout=far, stderr=far, timeout=60, check=False).returncode
            os.close(far)
            text = b""
            while chunk := _read(seen):
                text += chunk
        assert status == 0
        return text.decode().replace("\r\n", "\n")

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Runs on."""
        return subprocess.Popen(self._argv(*arguments), stderr=subprocess.PIPE, text=True, start_new_session=True)

    def _argv(self, *arguments: str) -> list[str]:
        return ["ip", "netns", "exec", self.here.namespace.name, self.program, *arguments]


def _read(file: object) -> bytes:
    try:
        return os.read(file.fileno(), 4096)  # type: ignore[attr-defined]
    except OSError:  # the other end is closed
        return b""


def test_a_tunnel_from_its_file_to_its_end(ours: Ours) -> None:
    """A script hears nothing, a person what runs, and `-v` prints each step; no line has a key."""
    here, name, path = ours.here, ours.here.interface, str(ours.here.path)
    here.write(FILES["several peers"])
    before = here.shown()
    status, steps, err = ours.run("up", "--dry-run", path)
    assert (status, err) == (0, "")
    assert here.shown() == before, "a dry run does nothing"
    assert ours.run("up", path) == (0, "", "")
    assert ours.state.stat().st_mode & 0o777 == 0o600
    assert ours.state.parent.stat().st_mode & 0o077 == 0
    assert ours.run("up", path)[0] == 1
    assert ours.at_a_terminal("down", path) == f"{name} is down\n"
    assert here.shown() == before
    seen = ours.at_a_terminal("up", "-v", path)
    lines = seen.splitlines()
    assert [line.removeprefix("[#] ") for line in lines[:-2]] == steps.splitlines()
    (pid,) = daemon_pids(here.namespace)
    assert lines[-2] == f"{name} is up: pywg, PID {pid}, UDP port 41194, 10.78.0.1/24 fd00:78::1/64"
    assert f"`pywg down {name}`" in lines[-1]
    assert ours.run("reload", "-n", path) == (0, "", "")
    state = ours.state.read_text()
    for secret in (KEY, PSK):
        assert secret not in steps + seen + state
    assert (ours.run("down", path), here.shown()) == ((0, "", ""), before)
    status, out, err = ours.run("down", path)
    assert (status, out, err) == (1, "", f"pywg: {name} is not up: `pywg up {name}` sets it up\n")
    here.nothing_runs()
    assert not ours.state.exists()


def test_a_user_is_refused(ours: Ours) -> None:
    here, name = ours.here, ours.here.interface
    here.write(FILES["dual stack"])
    folder = Path("/tmp", f"pywg-{name}")
    folder.mkdir()
    path = folder / f"{name}.conf"
    try:
        path.write_text(FILES["dual stack"])
        folder.chmod(0o755)
        path.chmod(0o644)
        user = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", ours.program)
        for command in ("up", "down", "reload"):
            with pytest.raises(CommandError, match=rf"only root may do this: sudo pywg {command} {name}$"):
                here.namespace.run(*user, command, str(path))
        path.chmod(0o600)
        with pytest.raises(CommandError, match="can't be read: Permission denied; run this as root"):
            here.namespace.run(*user, "up", str(path))
    finally:
        path.unlink()
        folder.rmdir()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_hook_runs(ours: Ours, number: signal.Signals) -> None:
    here = ours.here
    here.write(f"{HEAD}{DUAL}\nPostUp = echo $$ >> LOG; exec sleep 1000\n" + peer(ONE, BOTH, NEAR))
    before = here.shown()
    process = ours.start("up", str(here.path))
    here.hook_runs()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert err == f"pywg: stopped by {number.name}; {here.interface} is not up, and nothing is left of it\n"
    assert here.shown() == before
    assert not os.path.exists(f"/proc/{here.logged()[0]}")
    here.nothing_runs()
    assert not ours.state.exists()


def test_a_daemon_that_can_not_start_says_why_in_one_line(ours: Ours, monkeypatch: pytest.MonkeyPatch) -> None:
    here = ours.here
    here.write(FILES["dual stack"])
    before = here.shown()
    monkeypatch.setenv("PYWG_AEAD", "rot13")
    status, out, err = ours.run("up", str(here.path))
    assert (status, out) == (1, "")
    assert re.fullmatch(rf"pywg: `pywg run {here.interface}`: .*rot13.*; .* nothing is left of it\n", err)
    assert here.shown() == before
    here.nothing_runs()


def test_a_port_that_is_taken(ours: Ours) -> None:
    """The daemon refuses keys and peers as a whole: the step is named, and no daemon is left."""
    here = ours.here
    here.write(FILES["dual stack"])
    with here.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 41194))
        status, _, err = ours.run("up", str(here.path))
    assert status == 1
    assert "keys and peers" in err
    assert "UDP port 41194 is in use" in err
    here.nothing_runs()


def test_save_config(here: Machine) -> None:
    """What runs is written into the file, as wg-quick does, and comes up again."""
    text = (
        f"{HEAD}{DUAL}\nSaveConfig = true\nMTU = 1380\nDNS = 10.78.0.53, example.org\nPostUp = true %i\n# office\n"
        + peer(ONE, "10.9.0.0/16", f"PresharedKey = {PSK}\n{NEAR}")
    )
    here.write(text)
    here.up()
    here.namespace.run(
        "wg", "set", here.interface, "peer", TWO, "allowed-ips", "10.8.0.0/16", "persistent-keepalive", "9"
    )
    here.namespace.run("ip", "address", "add", "10.55.0.1/24", "dev", here.interface)
    here.down()
    saved = here.path.read_text()
    assert here.path.stat().st_mode & 0o777 == 0o600
    for line in (
        "10.55.0.1/24",
        "fd00:78::1/64",
        TWO,
        "PersistentKeepalive = 9",
        PSK,
        KEY,
        "MTU = 1380",
        "DNS = 10.78.0.53, example.org",
    ):
        assert line in saved
    assert "fe80" not in saved
    assert "PostUp = true %i" in saved
    here.up()
    assert "10.55.0.1/24" in here.shown()
    assert "10.8.0.0/16 dev" in here.shown()
    here.down()
    assert here.path.read_text() == saved
    here.nothing_runs()


@pytest.mark.usefixtures("quick_daemon")
def test_two_tunnels_with_default_routes(here: Machine, tmp_path: Path) -> None:
    """Whichever goes first, the other's rules stay, and in their order: local networks are not in the tunnel."""
    other = Machine(here.namespace, f"{here.interface}b"[-15:], tmp_path)
    tmp_path.chmod(0o700)
    here.write(FILES["default routes"])
    other.write(f"[Interface]\nPrivateKey = {KEY}\nAddress = 10.70.0.1/24, fd00:70::1/64\n" + peer(TWO, BOTH, NEAR))

    def rules() -> list[str]:
        return [line for line in here.shown().splitlines() if re.match(r"\d+:\t", line)]

    before = rules()
    for first, second in ((here, other), (other, here)):
        for last in (first, second):
            first.up()
            alone = rules()
            second.up()
            assert len(rules()) == len(before) + 8
            (second if last is first else first).down()
            left = [re.sub(r"^\d+:|0x\w+|table \w+|lookup \d+", "", line) for line in rules()]
            assert left == [re.sub(r"^\d+:|0x\w+|table \w+|lookup \d+", "", line) for line in alone]
            assert "sysctl" not in left
            assert "src_valid_mark = 1" in here.shown()
            last.down()
            assert rules() == before
            here.namespace.run("sysctl", "-q", "net.ipv4.conf.all.src_valid_mark=0")
    here.nothing_runs()
