"""Names for a process that may not read the files that have them: what is written, where, and how it is read again."""

import json
import os
from pathlib import Path

import pytest

from pywg.config.keys import format_key_base64
from pywg.errors import ConfigError
from pywg.manage import names as files
from pywg.manage.metrics.names import MOST_NAME, NamesFile, read_apart, write

KEY, OTHER = format_key_base64(bytes([1]) * 32), format_key_base64(bytes([2]) * 32)
PRIVATE = format_key_base64(bytes([7]) * 32)


@pytest.fixture(autouse=True)
def configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of /etc/wireguard, with one file that has names."""
    folder = tmp_path / "wireguard"
    folder.mkdir()
    peers = f"[Peer]\n# Name = berlin\nPublicKey = {KEY}\n[Peer]\nPublicKey = {OTHER}\n"
    text = f"[Interface]\nPrivateKey = {PRIVATE}\n{peers}"
    (folder / "wg0.conf").write_text(text)
    monkeypatch.setattr(files, "CONFIGURATIONS", str(folder))
    monkeypatch.setattr(
        files.names_of, "__kwdefaults__", {"configurations": str(folder), "states": str(tmp_path / "no")}
    )
    return folder


def test_names_and_nothing_else_are_written(tmp_path: Path) -> None:
    file = tmp_path / "names"
    umask = os.umask(0o077)
    try:
        assert write(file, ["wg7"]) == 1
    finally:
        os.umask(umask)
    assert json.loads(file.read_text()) == {"wg0": {KEY: "berlin"}}
    assert file.stat().st_mode & 0o777 == 0o644
    assert PRIVATE not in file.read_text()
    assert read_apart([]) == NamesFile(file).read() == {"wg0": {bytes([1]) * 32: "berlin"}}


def test_a_link_in_the_way_is_replaced(tmp_path: Path) -> None:
    """Its folder may be that of a user who would have root write elsewhere."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    file = tmp_path / "names"
    file.symlink_to(victim)
    write(file, [])
    assert victim.read_text() == "mine"
    assert not file.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["names", "victim", "wireguard"]


def test_one_that_can_not_be_written_leaves_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "names"
    file.mkdir()
    with pytest.raises(IsADirectoryError):
        write(file, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["names", "wireguard"]


def test_a_change_is_seen(tmp_path: Path, configurations: Path) -> None:
    file = tmp_path / "names"
    known = NamesFile(file)
    with pytest.raises(ConfigError, match=r"without names: .*No such file"):
        known.read()
    assert known.read() == {}
    write(file, [])
    assert known.read()["wg0"].popitem()[1] == "berlin"
    (configurations / "wg0.conf").write_text((configurations / "wg0.conf").read_text().replace("berlin", "paris"))
    write(file, [])
    assert known.read()["wg0"] == {bytes([1]) * 32: "paris"}
    file.unlink()
    with pytest.raises(ConfigError, match="without names"):
        known.read()
    assert known.read() == {}


@pytest.mark.parametrize("text", ["", "[]", "3", '{"wg0": 3}', '{"wg0": {"x": "y"}}', "[" * 100_000, "\xff"])
def test_what_is_no_file_of_names(tmp_path: Path, text: str) -> None:
    file = tmp_path / "names"
    file.write_bytes(text.encode("latin-1"))
    known = NamesFile(file)
    with pytest.raises(ConfigError, match="is no file of names") as error:
        known.read()
    assert "\n" not in str(error.value)
    assert known.read() == {}


def test_a_name_is_cut_and_printable(tmp_path: Path) -> None:
    file = tmp_path / "names"
    file.write_text(json.dumps({"wg0": {KEY: "a\n" + "b" * 100}}))
    assert NamesFile(file).read() == {"wg0": {bytes([1]) * 32: "a\N{REPLACEMENT CHARACTER}" + "b" * (MOST_NAME - 2)}}
