"""Of a name that is not up: what is up, where the name has no file that would set it up."""

import os
from pathlib import Path

import pytest

from pywg.cli.main import main
from pywg.manage import meant
from pywg.manage.meant import what_is_up


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The interfaces that are up."""
    names = ["wg0", "wg1"]
    monkeypatch.setattr(meant, "served_here", lambda: names)
    return names


def test_what_is_up_is_told_of_a_name_without_a_file(tmp_path: Path, up: list[str]) -> None:
    told = f", and it has no file in {tmp_path}; what is up: wg0, wg1"
    assert what_is_up("wg9", configurations=str(tmp_path)) == told
    (tmp_path / "wg9.conf").touch()
    assert what_is_up("wg9", configurations=str(tmp_path)) == ""
    (tmp_path / "wg9.conf").unlink()
    up *= 20
    assert what_is_up("wg9", configurations=str(tmp_path)).endswith("wg1 and 32 more")
    up.clear()
    assert what_is_up("wg9", configurations=str(tmp_path)) == ""


def test_a_caller_that_may_not_look_is_told_nothing(
    tmp_path: Path, up: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert what_is_up("wg9", configurations=str(tmp_path)) != ""
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert what_is_up("wg9", configurations=str(tmp_path)) == ""


@pytest.mark.parametrize("command", ["stats", "show", "log", "status", "down"])
def test_commands_for_a_name_that_is_not_up(command: str, up: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "pywgnone0", *["debug"] * (command == "log")]) == (3 if command == "status" else 1)
    out, err = capsys.readouterr()
    line = out if command == "status" else err
    assert line.endswith(", and it has no file in /etc/wireguard; what is up: wg0, wg1\n")
    assert line.count("\n") == 1
