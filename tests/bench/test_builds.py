"""What can't be built is missing with a reason, and never silently."""

import shutil
from pathlib import Path

import pytest

from bench.tunnel import builds
from bench.tunnel.builds import NotInstalledError
from bench.tunnel.implementations import NAMES, build, find


@pytest.fixture(autouse=True)
def _nothing_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GO_BIN", "CARGO", "NULL_CIPHER", "_STAMP"):
        monkeypatch.setattr(builds, name, tmp_path / name)
    monkeypatch.setattr(shutil, "which", lambda *_args, **_options: None)


@pytest.mark.parametrize("name", ["boringtun", "gotatun"])
def test_without_cargo(name: str) -> None:
    with pytest.raises(
        NotInstalledError, match=rf"{name}-cli is missing from this run: cargo is not installed \(.*rustup"
    ):
        build(name)


def test_without_go() -> None:
    with pytest.raises(NotInstalledError, match="newest wireguard-go is missing from this run: go is not installed"):
        build("wireguard-go-new")


@pytest.mark.parametrize("name", ["wireguard-go", "openvpn", "openvpn-chacha"])
def test_without_the_package(name: str) -> None:
    with pytest.raises(NotInstalledError, match="is not installed: apt-get install"):
        build(name)


def test_a_build_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_args, **_options: "/bin/false")
    with pytest.raises(NotInstalledError, match="boringtun-cli is missing from this run: status 1"):
        build("boringtun")


@pytest.mark.parametrize("name", ["a.pyx", "a.pxd", "a.py", "a.h", "a/b.inc"])
def test_an_edit_makes_the_null_cipher_stale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setattr(builds, "ROOT", tmp_path)
    for one in ("setup.py", name, "a.so"):
        path = tmp_path / ("pywg" if one != "setup.py" else "") / one
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    before = builds._sources()
    (tmp_path / "pywg" / "a.so").write_text("2")
    assert builds._sources() == before
    (tmp_path / "pywg" / name).write_text("2")
    assert builds._sources() != before


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(NotInstalledError, match=", ".join(NAMES)):
        find("nosuch")
