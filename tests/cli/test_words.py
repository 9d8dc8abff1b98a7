"""A word that is meant for a tool makes no interface, whatever stands around it; names of interfaces still do."""

import shlex
import sys
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

import pywg.cli
from pywg.cli import words
from pywg.cli.commands import COMMANDS
from pywg.cli.main import main

pytestmark = pytest.mark.dropin("1")

TOOLS = ("setconf",)
MEANT = {
    "add": "up",
    "ups": "up",
    "start": "up",
    "stop": "down",
    "restart": "reload",
    "donw": "down",
    "delete": "down",
    "reloda": "reload",
    "stat": "stats",
    "Stats": "stats",
    "STATS": "stats",
    "sttas": "stats",
    "statss": "stats",
    "statuss": "status",
    "statsu": "status",
    "sttaus": "status",
    "Status": "status",
    "info": "status",
    "ls": "status",
    "hsow": "show",
    "shows": "show",
    "tpo": "top",
    "tops": "top",
    "statz": "stats",
    "genkeys": "genkey",
    "gnekey": "genkey",
    "genky": "genkey",
    "keygen": "genkey",
    "gen-key": "genkey",
    "gempsk": "genpsk",
    "pubky": "pubkey",
    "pupkey": "pubkey",
    "lgo": "log",
    "logs": "log",
    "rnu": "run",
    "runn": "run",
    "benhc": "bench",
    "benchmark": "bench",
    "hlep": "help",
    "verison": "version",
    "chekc": "check",
    "validate": "check",
    "svae": "save",
    "stripp": "strip",
    "inti": "init",
    "mesh": "init",
    "setup": "init",
    "docter": "doctor",
    "diagnose": "doctor",
    "pnig": "ping",
    "connect": "up",
    "disconnect": "down",
    "peers": "status",
    "interfaces": "status",
    "update": "upgrade",
    "install": "systemd",
    "man": "help",
}
INTERFACES = """
wg0 wg1 wg wg-home wg%d tun0 tun utun home office stats0 stats-1 log0 run1 bench2 lan lon lab sun fun dog lag held heap
wan vpn site site-a site_b berlin london paris test client server eth0 a b statistic ben key pub gen ver dc1 dc2-dc1
bridge core edge tip tap hop shop shot slow snow backup remote local hub spoke pw1a2b3c4a
"""
NAMES = INTERFACES.split()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The interfaces that the faked daemon was to serve."""
    names: list[str] = []

    def run(interfaces: Sequence[str], **options: object) -> int:
        names.extend(interfaces)
        return 0

    monkeypatch.setitem(sys.modules, "pywg.cli.run", SimpleNamespace(run=run))
    monkeypatch.setattr(pywg.cli, "run", SimpleNamespace(run=run), raising=False)
    return names


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The one line that is said instead."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pywg: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("word", TOOLS)
def test_words_of_other_tools(started: list[str], capsys: pytest.CaptureFixture[str], word: str) -> None:
    for arguments in ([word], [word, "wg0"], ["-f", word], [word.upper()], ["--threads", "2", word]):
        line = refused(capsys, arguments)
        assert f"no command '{word}' yet: `" in line
        assert f"`pywg run {arguments[-1] if arguments[-1] != 'wg0' else word}`" in line
    assert started == []


@pytest.mark.parametrize(
    ("word", "instead"),
    [("enable", "`systemctl enable"), ("set", "`wg set")],
)
def test_what_does_it_today(capsys: pytest.CaptureFixture[str], word: str, instead: str) -> None:
    assert instead in refused(capsys, [word])


@pytest.mark.parametrize("word", MEANT)
def test_near_misses_of_a_command(started: list[str], capsys: pytest.CaptureFixture[str], word: str) -> None:
    for arguments in ([word], [word, "wg0"], ["-f", word]):
        assert f"did you mean `pywg {MEANT[word]}`?" in refused(capsys, arguments)
    assert started == []


@pytest.mark.parametrize("words", [["frobnicate", "wg0"], ["wg0", "wg1", "a b"], ["tunnel", "-v", "wg0"]])
def test_a_first_word_of_several_that_is_no_command(
    started: list[str], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    line = refused(capsys, words)
    assert f"there is no command '{words[0]}', see pywg help" in line
    assert f"`pywg run {shlex.join(word for word in words if word != '-v')}`" in line
    assert started == []


@pytest.mark.parametrize("option", ["-v", "--verbose"])
def test_an_option_that_elsewhere_tells_the_version(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert "the version: pywg --version" in refused(capsys, [option])


@pytest.mark.parametrize("word", ["genkey", "stats", "status", "run", "help", "version"])
def test_a_command_behind_an_option(started: list[str], capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert f"did you mean `pywg {word}`?" in refused(capsys, ["-f", word])
    assert started == []


@pytest.mark.parametrize(
    "word", ["wg0.conf", "./wg0.conf", "/etc/wireguard/wg0.conf", "WG0.CONF", "a/b", "/", "a b.conf"]
)
def test_files_and_paths(started: list[str], capsys: pytest.CaptureFixture[str], word: str) -> None:
    line = refused(capsys, [word])
    assert f"'{word}' is a " in line
    path = {"wg0.conf": "./wg0.conf", "WG0.CONF": "./WG0.CONF", "a b.conf": "'./a b.conf'"}.get(word, word)
    assert (f"`pywg up {path}`" in line) == word.lower().endswith(".conf")
    assert started == []


@pytest.mark.parametrize("word", ["a\nb.conf", "a\n/b", "\x1b/", "\x1b.conf"])
def test_a_file_is_shown_on_one_line(capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert refused(capsys, [word]).isascii()


def test_interfaces_can_have_names(started: list[str]) -> None:
    for name in NAMES:
        assert main([name]) == 0
        assert words.not_an_interface(name, COMMANDS) == ""
    assert started == NAMES


@pytest.mark.parametrize("word", [*TOOLS, *MEANT, *COMMANDS, "wg0.conf"])
def test_run_takes_every_name(started: list[str], word: str) -> None:
    assert main(["run", word]) == 0
    assert main(["--", word]) == 0
    assert started == [word, word]


@pytest.mark.parametrize("program", ["wireguard-go", "/usr/local/bin/wireguard-go", "./boringtun", "pywg-daemon"])
@pytest.mark.parametrize("word", [*TOOLS, *COMMANDS, "stat"])
def test_a_link_of_another_name_knows_no_commands(started: list[str], program: str, word: str) -> None:
    assert main([word], program) == 0
    assert main(["-f", word], program) == 0
    assert started == [word, word]


@pytest.mark.parametrize("program", ["pywg", "/usr/bin/pywg", "/somewhere/pywg/__main__.py", "./pywg.pyz"])
def test_our_own_names_know_the_commands(started: list[str], capsys: pytest.CaptureFixture[str], program: str) -> None:
    assert main(["version"], program) == 0
    assert capsys.readouterr().out == f"pywg {pywg.__version__}\n"
    assert started == []


def test_another_name_still_has_help_and_version_as_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"], "wireguard-go") == 0
    assert main(["--help"], "wireguard-go") == 0
    assert main([], "wireguard-go") == 2
    assert main(["a/b"], "wireguard-go") == 2
    assert "Usage: pywg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "meant"), [("--foregroud", "--foreground"), ("--thread", "--threads"), ("--verbos", "--verbose")]
)
def test_options_that_there_are_not(capsys: pytest.CaptureFixture[str], option: str, meant: str) -> None:
    line = refused(capsys, [option, "wg0"])
    assert f"unknown option '{option}'" in line
    assert meant in line
    assert "did you mean" not in refused(capsys, ["--json", "wg0"])
    assert "unknown option '--jsno': did you mean --json?" in refused(capsys, ["stats", "--jsno", "wg0"])
