"""The kernel's own interfaces are named, and left to wg: made up here, for a test's kernel may have none."""

from pathlib import Path

import pytest

from pywg.cli.main import main
from pywg.manage import client, kernels, status
from pywg.manage.kernels import kernels as kernels_in
from pywg.runtime.base import in_use


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for index, name in ((7, "wgk1"), (3, "wgk0"), (1, "lo")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ifindex").write_text(f"{index}\n")
    monkeypatch.setattr(kernels, "is_kernels", lambda name: name.startswith("wgk"))
    monkeypatch.setattr(in_use, "is_kernels", lambda name: name.startswith("wgk"))
    return str(tmp_path)


def test_they_are_in_wgs_order(folder: str) -> None:
    assert kernels_in(folder) == ["wgk0", "wgk1"]
    assert kernels_in(f"{folder}/none") == []


def test_they_are_named_as_the_kernels(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernels, "kernels", lambda: kernels_in(folder))
    monkeypatch.setattr(status, "kernels", lambda: kernels_in(folder))
    monkeypatch.setattr(status, "served", lambda **_: [])
    monkeypatch.setattr(client, "served", list)
    monkeypatch.setattr(client, "served_as_listed", list)
    assert main(["status"]) == 3
    out = capsys.readouterr().out
    assert "wgk0 is the kernel's own WireGuard: `wg show wgk0` shows it\n" in out
    assert "`pywg up NAME`" in out
    assert main(["status", "wgk1"]) == 3
    assert capsys.readouterr().out == "wgk1 is the kernel's own WireGuard: `wg show wgk1` shows it\n"
    assert main(["show", "interfaces"]) == 0
    assert capsys.readouterr().out == "wgk0 wgk1\n"
    assert main(["show"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("the kernel's own WireGuard") == 2
