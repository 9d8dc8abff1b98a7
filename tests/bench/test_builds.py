"""What can't be built is missing with a reason, and never silently."""

import shutil
from pathlib import Path

import pytest

from bench.tunnel import builds, implementations
from bench.tunnel.builds import NotInstalledError
from bench.tunnel.implementations import NAMES, Implementation, build, find, version


@pytest.fixture(autouse=True)
def _nothing_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GO_BIN", "CARGO", "NULL_CIPHER", "_STAMP", "FORWARDER"):
        monkeypatch.setattr(builds, name, tmp_path / name)
    monkeypatch.setattr(shutil, "which", lambda *_args, **_options: None)


@pytest.mark.parametrize("name", ["boringtun", "gotatun"])
def test_without_cargo(name: str) -> None:
    with pytest.raises(
        NotInstalledError, match=rf"{name}-cli is missing from this run: cargo is not installed \(.*rustup"
    ):
        build(name)


@pytest.mark.parametrize(
    ("name", "what", "compiler"),
    [
        ("wireguard-go-new", "the newest wireguard-go", "go"),
        ("tailscale", "tailscale's wireguard-go", "go"),
        ("forwarder", "the bare forwarder", "cc"),
    ],
)
def test_without_its_compiler(name: str, what: str, compiler: str) -> None:
    with pytest.raises(NotInstalledError, match=f"{what} is missing from this run: {compiler} is not installed"):
        build(name)


def test_the_version_of_a_fork_is_that_of_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program itself says is older than it is."""
    lines = {
        "--version": "wireguard-go v0.0.1\n\nwords",
        "-m": "p: go1.26.8\n\tpath\texample.org/x\n\tmod\texample.org/x\tv0.2.0\th1:a=\n\tdep\ty\tv9\n",
    }
    monkeypatch.setattr(implementations, "run", lambda *argv, **_: lines[argv[-1] if argv[-1] in lines else argv[-2]])
    fork = Implementation("fork", ("/bin/p", "-f"))
    assert version(fork) == "wireguard-go v0.0.1"  # without Go nobody can tell
    monkeypatch.setattr(shutil, "which", lambda *_args, **_options: "/bin/go")
    assert version(fork) == "wireguard-go v0.0.1, module example.org/x v0.2.0, go1.26.8"


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


def test_a_forwarder_that_this_processor_can_not_run_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forwarder = tmp_path / "forwarder"
    forwarder.write_text('#!/bin/sh\n[ "$1" != --seal ] || { echo "forwarder: no kernel" >&2; exit 1; }\n')
    forwarder.chmod(0o755)
    monkeypatch.setattr(builds, "FORWARDER", forwarder)
    assert find("forwarder-cuts").command == (str(forwarder), "--cut")
    with pytest.raises(NotInstalledError, match=r"(?s)forwarder-seals is missing from this run: .*no kernel"):
        find("forwarder-seals")


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(NotInstalledError, match=", ".join(NAMES)):
        find("nosuch")
