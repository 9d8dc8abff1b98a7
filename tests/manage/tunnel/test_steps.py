"""What is remembered of steps, what a file wants of a device, and how what is named on the command line is found."""

import errno
import os
import socket
import sys
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any, cast

import pytest

from pywg.config import wg_quick
from pywg.config.addresses import parse_prefix
from pywg.config.keys import parse_key_base64
from pywg.config.model import DeviceStatus, PeerStatus
from pywg.config.wg_quick import parse
from pywg.errors import ConfigError, DeviceError, WgQuickError
from pywg.manage.names import configuration_of
from pywg.manage.tunnel import daemon, names, plan, resolve
from pywg.manage.tunnel import state as states
from pywg.manage.tunnel.dns import ResolvConf, Resolvconf, Resolved
from pywg.manage.tunnel.firewall import Firewall
from pywg.manage.tunnel.interrupt import Interrupts
from pywg.manage.tunnel.machine import Machine
from pywg.manage.tunnel.names import QuickFile, Target
from pywg.manage.tunnel.peers import difference, initial, peers_of
from pywg.manage.tunnel.state import PeerState, State
from pywg.manage.tunnel.steps import Address, LinkUp, PolicyRule, Route, Step, ValidMark
from pywg.runtime.base import namespaces
from tests.netns.quick_files import FILES, HEAD, KEY, NEAR, ONE, PSK, TWO, peer

STEPS: list[Step] = [
    Address("10.0.0.1/24"),
    LinkUp(1420, 1400),
    Route("fd00::/8", 51820),
    PolicyRule(AF_INET6, 51820, 32765),
    ValidMark(),
    Firewall(AF_INET, 51820, ("10.0.0.1", "10.0.0.2"), "nft"),
    Resolved(("10.0.0.53",), ("a.example",)),
    Resolvconf(("10.0.0.53",), ()),
    ResolvConf(("10.0.0.53",), (), "/etc/resolv.conf", "old \udce9\n", "new\n"),
    ResolvConf(("10.0.0.53",), (), "/etc/resolv.conf", None, "new\n"),
]


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "DIRECTORY", str(tmp_path / "state"))


def test_what_is_remembered_is_read_again(tmp_path: Path) -> None:
    key = bytes(range(32))
    hooks, peers = {"PreDown": ["a \udce9"]}, {key: PeerState("a:1", "b:2")}
    state = State("wg0", "/etc/wireguard/wg0.conf", namespaces.of_this_thread(), True, hooks, peers, STEPS)
    states.rewrite(state)
    assert states.read("wg0") == state
    (file,) = (tmp_path / "state").iterdir()
    assert file.name == "wg0.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(states.others("wg0")) == []
    assert [one.interface for one in states.others("wg1")] == ["wg0"]
    states.forget("wg0")
    states.forget("wg0")
    assert states.read("wg0") is None


def test_each_namespace_has_its_own(tmp_path: Path) -> None:
    """The first that comes has the plain name, and keeps it: so has a file of a pywg that knew no other name."""
    here = namespaces.of_this_thread()
    elsewhere, mine = State("wg0", "there", 7), State("wg0", "here", here)
    states.rewrite(elsewhere)
    assert states.read("wg0") is None
    states.rewrite(mine)
    states.rewrite(mine)
    files = {path.name for path in (tmp_path / "state").iterdir()}
    assert files == {"wg0.json", f"wg0@{here}.json"}
    assert (states.read("wg0"), list(states.others("wg0"))) == (mine, [elsewhere])
    assert configuration_of("wg0", states=states.DIRECTORY) == "here"
    states.forget("wg0")
    assert (states.read("wg0"), list(states.others("wg0"))) == (None, [elsewhere])
    assert configuration_of("wg0", states=states.DIRECTORY) == "/etc/wireguard/wg0.conf"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 2}', '{"version": 1, "steps": [{"step": "No"}]}'])
def test_what_can_not_be_read_is_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "wg0.json").write_text(text)
    assert states.read("wg0") is None


def test_a_link_in_place_of_a_state_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    path = tmp_path / "state" / "wg0.json"
    path.symlink_to(tmp_path / "victim")
    states.rewrite(State("wg0", namespace=7))
    assert not path.is_symlink()
    assert not (tmp_path / "victim").exists()


def test_steps_name_their_commands() -> None:
    """As an operator would type them, there and back."""
    for step in STEPS:
        assert step.command("wg0")
        assert step.undo_command("wg0")
        assert step.noun()
    assert Route("10.0.0.0/8").undo_command("wg0") == "ip -4 route delete 10.0.0.0/8 dev wg0"
    assert PolicyRule(AF_INET, 0, 7).command("wg0") == "ip -4 rule add priority 7 table main suppress_prefixlength 0"


def test_iptables_where_there_is_no_nft(monkeypatch: pytest.MonkeyPatch) -> None:
    """wg-quick's rules, added and deleted by the same lines."""
    ran: list[tuple[tuple[str, ...], str]] = []
    monkeypatch.setattr("pywg.manage.tunnel.firewall.run", lambda argv, *, text: ran.append((argv, text)))
    machine = Machine("wg0", cast("Any", None), Interrupts())
    for family, program in ((AF_INET, "iptables-restore"), (AF_INET6, "ip6tables-restore")):
        step = Firewall(family, 51820, ("ADDRESS",), "iptables")
        step.do(machine)
        step.undo(machine)
        (done, added), (undone, deleted) = ran[-2:]
        assert done == undone == (program, "-n", "-w", "10")
        assert deleted == added.replace("\n-I ", "\n-D ")
        marker = '-m comment --comment "wg-quick(8) rule for wg0"'
        assert added == (
            "*raw\n"
            f"-I PREROUTING ! -i wg0 -d ADDRESS -m addrtype ! --src-type LOCAL -j DROP {marker}\nCOMMIT\n*mangle\n"
            f"-I POSTROUTING -m mark --mark 51820 -p udp -j CONNMARK --save-mark {marker}\n"
            f"-I PREROUTING -p udp -j CONNMARK --restore-mark {marker}\nCOMMIT\n"
        )


def test_neither_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    Firewall(AF_INET, 1, (), "").do(Machine("wg0", cast("Any", None), Interrupts()))
    assert "neither nft nor iptables is installed" in capsys.readouterr().err


def test_no_key_is_shown() -> None:
    config = parse(FILES["several peers"], "wg0.conf")
    step = initial(config, peers_of(config), {}, 7)
    assert "private-key (hidden)" in step.command("wg0")
    assert "preshared-key (hidden)" in step.command("wg0")
    for text in (step.command("wg0"), repr(step), repr(peers_of(config))):
        assert KEY not in text
        assert PSK not in text
        assert repr(parse_key_base64(KEY, "key"))[2:-1] not in text


def test_a_prefix_moves_to_the_last_peer_that_has_it() -> None:
    one, two = (parse_key_base64(key, "key") for key in (ONE, TWO))
    config = parse(
        HEAD + peer(ONE, "10.0.0.0/8") + peer(TWO, "10.0.0.0/8, 10.1.0.0/16") + peer(ONE, "10.1.0.0/16"), "f"
    )
    found = peers_of(config)
    assert found[one].allowed == [parse_prefix("10.1.0.0/16")]
    assert found[two].allowed == [parse_prefix("10.0.0.0/8")]


def test_what_the_file_leaves_open_stays() -> None:
    one = parse_key_base64(ONE, "key")
    config = parse(f"[Interface]\n{peer(ONE, '10.0.0.0/8', NEAR)}", "f")
    there = PeerStatus(
        one, parse_key_base64(PSK, "key"), (b"\x0a\x4d\x00\x02", 51820, 0), 1, allowed_ips=[(b"\x0a\0\0\0", 8)]
    )
    running = DeviceStatus(parse_key_base64(KEY, "key"), 4711, 0, [there])
    addresses = {("10.77.0.2", 51820): (b"\x0a\x4d\x00\x02", 51820, 0)}
    found = difference(config, peers_of(config), addresses, fwmark=0, running=running, before={one: PeerState()})
    assert found.lines == []
    found = difference(config, peers_of(config), addresses, fwmark=0, running=running, before=None)
    assert found.lines == [f"- peer {ONE} preshared-key (hidden)"], "of a file that is not known to have had none"


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("wg0", Target("wg0", "/etc/wireguard/wg0.conf")),
        ("a_b=c+d.e-f", Target("a_b=c+d.e-f", "/etc/wireguard/a_b=c+d.e-f.conf")),
        ("wg0.conf", Target("wg0", "wg0.conf")),
        ("./x/wg0.conf", Target("wg0", "./x/wg0.conf")),
    ],
)
def test_names_and_files(given: str, target: Target) -> None:
    assert names.find(given) == target


@pytest.mark.parametrize(
    "given",
    ["", ".conf", "a b", "/etc/wg0", "sixteen-bytes-xx", "x/sixteen-bytes-xx.conf", "a;b.conf", "..", "$(x).conf", "é"],
)
def test_no_names(given: str) -> None:
    with pytest.raises(ConfigError):
        names.find(given)


def test_files_that_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "DIRECTORY", str(tmp_path))
    (tmp_path / "wg0.conf").write_text(HEAD)
    with pytest.raises(DeviceError, match=f"there is no ./x/wg0.conf: did you mean {tmp_path}/wg0.conf"):
        names.read(names.find("./x/wg0.conf"))
    with pytest.raises(DeviceError, match=f"there is no {tmp_path}/wg9.conf; there is {tmp_path}/wg0.conf$"):
        names.read(names.find("wg9"))
    with pytest.raises(ConfigError, match=f"with .conf after it: did you mean {tmp_path}/wg0.conf"):
        names.find(f"{tmp_path}/wg0")
    (tmp_path / "wg1.conf").mkdir()
    with pytest.raises(DeviceError, match="Is a directory"):
        names.read(names.find("wg1"))
    monkeypatch.setattr(names, "_MOST_FILE", 10)
    with pytest.raises(DeviceError, match="no configuration"):
        names.read(names.find("wg0"))


def test_no_file_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "DIRECTORY", str(tmp_path / "none"))
    with pytest.raises(DeviceError, match=r"there is no .*: `pywg init site-to-site` writes files"):
        names.read(names.find("wg0"))


def test_a_file_that_others_may_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wg0.conf"
    path.write_text(HEAD)
    for folder, mode, warned in ((0o755, 0o644, True), (0o700, 0o644, False), (0o755, 0o640, False)):
        tmp_path.chmod(folder)
        path.chmod(mode)
        names.read(names.find(str(path)))
        assert ("accessible to every user" in capsys.readouterr().err) == warned


def quick_file(text: str) -> QuickFile:
    reading = wg_quick.read(text, "wg0.conf")
    return QuickFile(Target("wg0", "wg0.conf"), reading.config, reading.settings, text)


def test_tables_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.d").mkdir()
    (tmp_path / "rt_tables").write_text("# here\n255\tlocal\n0x100 office\n")
    (tmp_path / "own.d" / "x.conf").write_text("300 lab # ours\nno number\n")
    monkeypatch.setattr(
        plan, "_TABLES", ((str(tmp_path / "rt_tables"), "/nowhere"), (str(tmp_path / "own.d"), "/nowhere"))
    )
    wanted = {"office": 256, "lab": 300, "main": 254, "0x10": 16, "4294967295": 4294967295, "auto": plan.AUTO, "0": 254}
    wanted |= {"off": plan.OFF, "local": 255, "default": 253}
    assert {text: plan.table_of(quick_file(f"[Interface]\nTable = {text}\n")) for text in wanted} == wanted
    assert plan.table_of(quick_file("[Interface]\n")) == plan.AUTO
    for text in ("nowhere", "4294967296", "-1", "0x"):
        with pytest.raises(WgQuickError, match=rf"^wg0.conf:2:9: Table: no routing table is called '{text}'"):
            plan.table_of(quick_file(f"[Interface]\nTable = {text}\n"))


class Names:
    """In place of getaddrinfo(3): some answers are errors."""

    def __init__(self, *answers: int | str) -> None:
        self.answers = list(answers)

    def __call__(self, host: str, port: int, *, flags: int = 0, **_: object) -> object:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "a name")
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            raise socket.gaierror(answer, "not now")
        return [(AF_INET6 if ":" in answer else AF_INET, 2, 17, "", (answer, port, 0, 0))]


def resolved(monkeypatch: pytest.MonkeyPatch, *answers: int | str) -> object:
    monkeypatch.setattr(socket, "getaddrinfo", Names(*answers))
    monkeypatch.setattr(resolve, "_FIRST_PAUSE_S", 0.001)
    file = quick_file(HEAD + peer(ONE, "10.0.0.0/8", "Endpoint = vpn.example:7\n"))
    return resolve.resolve([("vpn.example", 7)], file, Machine("wg0", cast("Any", None), Interrupts()))[
        ("vpn.example", 7)
    ]


def test_names_are_asked_for_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert resolved(monkeypatch, socket.EAI_AGAIN, socket.EAI_AGAIN, "192.0.2.1") == (b"\xc0\0\x02\x01", 7, 0)
    said = capsys.readouterr().err
    assert said.count("wg0.conf:7:12: Endpoint: vpn.example: not now; trying again in") == 2
    assert resolved(monkeypatch, "::ffff:192.0.2.1") == (b"\xc0\0\x02\x01", 7, 0)
    assert resolved(monkeypatch, "2001:db8::1") == (socket.inet_pton(AF_INET6, "2001:db8::1"), 7, 0)


@pytest.mark.parametrize(("retries", "asked"), [("3", 4), ("", 16), ("x", 16)])
def test_names_are_not_asked_for_without_end(monkeypatch: pytest.MonkeyPatch, retries: str, asked: int) -> None:
    monkeypatch.setenv("WG_ENDPOINT_RESOLUTION_RETRIES", retries)
    monkeypatch.setattr(resolve, "_GROWTH", 1.0)
    with pytest.raises(WgQuickError, match=r"^wg0.conf:7:12: Endpoint: 'vpn.example' has no address: not now$"):
        resolved(monkeypatch, *[socket.EAI_AGAIN] * asked)
    with pytest.raises(IndexError):
        Names(*[socket.EAI_AGAIN] * 0)("a", 1)


def test_a_name_that_there_is_not_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WgQuickError, match=r"Endpoint: 'vpn.example' has no address: not now$"):
        resolved(monkeypatch, socket.EAI_NONAME)


@pytest.mark.parametrize("error", [socket.EAI_NONAME, socket.EAI_AGAIN])
def test_a_name_that_a_companion_looks_after_may_have_no_address_yet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: int
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", Names(error))
    file = quick_file(HEAD + peer(ONE, "10.0.0.0/8", "Endpoint = vpn.example:7\n"))
    machine = Machine("wg0", cast("Any", None), Interrupts())
    assert resolve.resolve([("vpn.example", 7)], file, machine, later={("vpn.example", 7)}) == {}
    said = capsys.readouterr().err
    assert "wg0.conf:7:12: Endpoint: 'vpn.example' has no address: not now; the companion goes on asking" in said


def test_the_lock_of_a_command_that_has_ended_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / f"wg0@{namespaces.of_this_thread()}.lock").write_text("1\n")
    with states.locked("wg0"), states.locked("wg1"):
        with pytest.raises(DeviceError, match=rf"\(PID {os.getpid()}\)") as busy, states.locked("wg0"):
            pass
        assert busy.value.errno == errno.EBUSY
    assert os.listdir(tmp_path / "state") == []


@pytest.mark.parametrize("called", ["pywg", "/no/such/pywg", "/usr/lib/python3/pywg/__main__.py", "-c"])
def test_the_daemon_is_no_program_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, called: str
) -> None:
    (tmp_path / "pywg").write_text("#!/bin/sh\n")
    (tmp_path / "pywg").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [called, "up", "wg0"])
    assert daemon.program_of_pywg() == [sys.executable, "-P", "-m", "pywg"]
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "pywg"), "up", "wg0"])
    assert daemon.program_of_pywg() == [str(tmp_path / "pywg")], "the one that was called"
