"""What is remembered of a tunnel, in files that another version has written, or that nobody can read."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from pywg.manage.tunnel import state as states
from pywg.manage.tunnel.state import State
from pywg.manage.tunnel.steps import Address, LinkUp
from pywg.runtime.base import namespaces

KEY = "A" * 43 + "="


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(states, "DIRECTORY", str(tmp_path / "pywg"))
    return tmp_path / "pywg"


def remember(interface: str) -> State:
    one = State(interface, f"/etc/wireguard/{interface}.conf", mtu_given=False, hooks={})
    one.steps = [Address("10.0.0.1/24"), LinkUp(1420)]
    states.rewrite(one)
    return one


def test_what_is_written_is_read(folder: Path) -> None:
    one = remember("wg0")
    assert states.read("wg0") == one
    assert stat.S_IMODE(os.stat(folder / "wg0.json").st_mode) == 0o600
    states.forget("wg0")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 99},
        {"steps": [{"step": "FromTheFuture", "what": 1}]},
        {"steps": [{"step": "Address", "adress": "10.0.0.1/24"}]},
        {"steps": [{}]},
        {"steps": [7]},
        {"steps": None},
        {"peers": {"x": {}}},
        {"peers": {KEY: {"color": "red"}}},
        {"peers": []},
    ],
    ids=str,
)
def test_what_can_not_be_read_is_nothing(folder: Path, changed: dict[str, Any]) -> None:
    """Of this interface, and of another, whose file is in no other tunnel's way."""
    remember("wg0")
    kept = remember("wg1")
    path = folder / "wg0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    assert states.read("wg0") is None
    assert list(states.others("wg2")) == [kept]
    assert states.read("wg1") == kept
    one = remember("wg0")
    assert states.read("wg0") == one, "a new one takes its place"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\N{LATIN SMALL LETTER E WITH ACUTE}", '"' * 9])
def test_what_is_no_state_is_nothing(folder: Path, text: str) -> None:
    kept = remember("wg1")
    (folder / "wg0.json").write_text(text, "latin-1")
    assert states.read("wg0") is None
    assert list(states.others("wg2")) == [kept]


def test_another_namespaces_is_not_ours(folder: Path) -> None:
    one = remember("wg0")
    one.namespace = namespaces.of_this_thread() + 1
    states.forget("wg0")
    states.rewrite(one)
    assert states.read("wg0") is None
    assert list(states.others("wg0")) == [one]
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_file_that_can_not_be_written_is_as_before_and_nothing_lies_beside_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = remember("wg0")
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OSError, match="No space left"):
        states.rewrite(State("wg0", "/etc/wireguard/other.conf"))
    assert [path.name for path in folder.iterdir()] == ["wg0.json"]
    assert states.read("wg0") == before
