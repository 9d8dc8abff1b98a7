"""Names of peers come from the interface's file, and a file that gives none is no fault."""

import json
import os
from pathlib import Path

import pytest

from pywg.config.keys import format_key_base64
from pywg.manage.names import names_of

KEYS = [bytes([number]) * 31 + b"\0" for number in (1, 2, 3)]
TEXT = f"""[Interface]
ListenPort = 51820

# Name = berlin
[Peer]
PublicKey = {format_key_base64(KEYS[0])}

[Peer]
PublicKey = {format_key_base64(KEYS[1])}

# the office \x1b[31min Paris
[Peer]
PublicKey = {format_key_base64(KEYS[2])}
"""


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "etc").mkdir()
    (tmp_path / "run").mkdir()
    return {"configurations": str(tmp_path / "etc"), "states": str(tmp_path / "run")}


def test_names_by_key(folders: dict[str, str]) -> None:
    Path(folders["configurations"], "wg0.conf").write_text(TEXT)
    found = names_of("wg0", **folders)
    assert found[KEYS[0]] == "berlin"
    assert KEYS[1] not in found
    assert found[KEYS[2]].isprintable()
    assert "Paris" in found[KEYS[2]]
    assert names_of("wg1", **folders) == {}
    Path(folders["configurations"], "wg0.conf").write_text(f"Nonsense\n{TEXT}Nonsense = 1\n")
    assert names_of("wg0", **folders) == found


def test_the_file_that_was_set_up_wins(folders: dict[str, str], tmp_path: Path) -> None:
    Path(folders["configurations"], "wg0.conf").write_text(TEXT.replace("berlin", "rome"))
    other = tmp_path / "other.conf"
    other.write_text(TEXT)
    state = Path(folders["states"], "wg0.json")
    state.write_text(json.dumps({"file": str(other)}))
    assert names_of("wg0", **folders)[KEYS[0]] == "berlin"
    for text in ("{", "[]", '{"file": 7}', '{"file": ""}'):
        state.write_text(text)
        assert names_of("wg0", **folders)[KEYS[0]] == "rome"


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b"[Nonsense]\n", b"[Peer]\nPublicKey = x\n", b""])
def test_a_file_that_cant_be_read_gives_none(folders: dict[str, str], content: bytes) -> None:
    Path(folders["configurations"], "wg0.conf").write_bytes(content)
    assert names_of("wg0", **folders) == {}


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["a FIFO", "a folder"])
def test_what_is_no_file_is_not_waited_for(folders: dict[str, str], make: object) -> None:
    assert callable(make)
    make(os.path.join(folders["configurations"], "wg0.conf"))
    assert names_of("wg0", **folders) == {}
