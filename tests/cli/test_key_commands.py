"""genkey, genpsk and pubkey: what they write, and that wg agrees."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pywg.cli.commands import COMMANDS
from tests.requirements import require_tool

ROOT = Path(__file__).parents[2]


def pywg(command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "pywg", command]
    return subprocess.run(arguments, input=text, capture_output=True, text=True, check=False, cwd=ROOT)


def pywg_output(command: str, text: str = "") -> str:
    result = pywg(command, text)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def wg(command: str, text: str = "") -> str:
    return subprocess.run([require_tool("wg"), command], input=text, capture_output=True, text=True, check=True).stdout


def test_genkey_is_a_clamped_key() -> None:
    key = base64.b64decode(pywg_output("genkey"), validate=False)
    assert len(key) == 32
    assert key[0] & 7 == 0
    assert key[31] & 0xC0 == 0x40


def test_keys_are_as_long_as_wgs() -> None:
    assert len(pywg_output("genkey")) == len(pywg_output("genpsk")) == len(wg("genkey")) == 45


@pytest.mark.parametrize("command", ["genkey", "genpsk"])
def test_every_key_is_new(command: str) -> None:
    assert pywg_output(command) != pywg_output(command)


def test_pubkey_of_rfc_7748() -> None:
    """Section 6.1: Alice's private and public key."""
    private = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    public = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    assert base64.b64decode(pywg_output("pubkey", base64.b64encode(private).decode())) == public


def test_pubkey_is_wgs() -> None:
    for source in (pywg_output, wg):
        private = source("genkey")
        assert pywg_output("pubkey", private) == wg("pubkey", private)


def test_pubkey_of_a_key_that_is_not_clamped_is_wgs() -> None:
    private = base64.b64encode(b"\xff" * 32).decode()
    assert pywg_output("pubkey", private) == wg("pubkey", private)


def test_pubkey_doesnt_mind_space() -> None:
    private = wg("genkey").strip()
    assert pywg_output("pubkey", f"{private} \r\n\n") == pywg_output("pubkey", private)


KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.mark.parametrize("text", ["", "\n", KEY[:-1], KEY + "=", f"{KEY}\n{KEY}\n", KEY[:-2] + "9=", "x" * 100_000])
def test_pubkey_of_no_key(text: str) -> None:
    result = pywg("pubkey", text)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "pywg: standard input must be a key of 44 characters of base64\n"


def test_a_key_for_everybody_to_read_is_warned_of(tmp_path: Path) -> None:
    for command, mode, warned in (
        ("genkey", 0o644, True),
        ("genpsk", 0o604, True),
        ("genkey", 0o640, False),
        ("genpsk", 0o600, False),
        ("pubkey", 0o644, False),
    ):
        file = tmp_path / f"{command}-{mode:o}"
        file.touch()
        file.chmod(mode)
        with file.open("w") as out:
            arguments = [sys.executable, "-m", "pywg", command]
            result = subprocess.run(
                arguments, input=KEY, stdout=out, stderr=subprocess.PIPE, text=True, check=True, cwd=ROOT
            )
        assert ("umask" in result.stderr) == warned
        assert len(file.read_text()) == 45


def test_a_closed_standard_output_is_an_error() -> None:
    command = ["sh", "-c", 'exec "$0" -m pywg genkey >&-', sys.executable]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (result.returncode, result.stderr) == (1, "pywg: standard output is closed\n")


CORES = """
import resource, sys
from pywg.cli.parser import execute
execute(sys.argv[1], sys.argv[2:])
print(resource.getrlimit(resource.RLIMIT_CORE)[0])
"""


@pytest.mark.parametrize(
    ("command", "limits", "left"),
    [
        (["genpsk"], "unlimited:unlimited", 1),
        (["genkey"], "4096:unlimited", 1),
        (["show", "interfaces"], "unlimited:unlimited", 1),
        (["check", "/dev/null"], "0:unlimited", 1),
        (["check", "/dev/null"], "0:0", 0),
        (["version"], "4096:4096", 4096),
    ],
)
def test_a_command_that_has_keys_leaves_no_core(tmp_path: Path, command: list[str], limits: str, left: int) -> None:
    """At a limit of 1 the kernel writes none, and starts no program that takes cores, as it does at 0."""
    limited = [require_tool("prlimit"), f"--core={limits}", sys.executable, "-c", CORES, *command]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(limited, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment)
    assert ended.stdout.splitlines()[-1] == str(left)


def test_commands_that_have_keys_are_those_that_do_not_start_others() -> None:
    """`up`, `exec` and the like start programs, which would inherit the limit: they close themselves in another way."""
    having = {name for name, row in COMMANDS.items() if row.has_keys}
    assert {"show", "status", "save", "strip", "qr", "genkey"} <= having
    assert not having & {"up", "down", "reload", "exec", "run", "upgrade", "companion"}
