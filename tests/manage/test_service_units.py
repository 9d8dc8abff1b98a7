"""systemd's units for an installation by pip: what is written, what is left alone, and which program root may run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pywg.cli.main import main
from pywg.errors import ConfigError
from pywg.manage import service_units as service
from tests.requirements import require_root, require_tool

PROGRAM = Path("/opt/pywg/bin/pywg")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of /etc/systemd/system; systemd is not told, and any program is root's."""
    made = tmp_path / "system"
    made.mkdir()
    monkeypatch.setattr(service, "DIRECTORY", made)
    monkeypatch.setattr(service, "PACKAGED", (tmp_path / "packaged",))
    monkeypatch.setattr(service, "check_program", lambda path: None)
    monkeypatch.setattr(service, "program", lambda: PROGRAM)
    monkeypatch.setattr(service, "reload_systemd", lambda: None)
    monkeypatch.setattr(service, "make_group", lambda: False)
    return made


def test_the_units_name_this_program(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["systemd", "install"]) == 0
    assert capsys.readouterr().out == "".join(f"{directory / name} is written\n" for name in service.UNITS)
    for name in service.UNITS:
        text = (directory / name).read_text()
        assert text.startswith(f"{service.MARK}, for {PROGRAM}\n")
        assert f"ExecStart={PROGRAM} " in text
        assert service.WRITTEN_FOR not in text
        assert (directory / name).stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in directory.iterdir()) == sorted(service.UNITS)
    assert main(["systemd", "install"]) == 0
    assert capsys.readouterr().out.startswith("nothing to do")


def test_the_group_of_the_exporter_is_made_once(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By groupadd for real: tests/netns/test_metrics.py."""
    answers = iter([True, False])
    monkeypatch.setattr(service, "make_group", lambda: next(answers))
    assert main(["systemd", "install"]) == 0
    assert capsys.readouterr().out.endswith("the group pywg-monitor is made, for pywg-metrics.service\n")
    assert main(["systemd", "install"]) == 0
    assert capsys.readouterr().out == "nothing to do: the units are there\n"
    assert "SupplementaryGroups=pywg-monitor\n" in (directory / "pywg-metrics.service").read_text()


def test_a_group_that_can_not_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MONITORS", "pywg-nobodys")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="the group pywg-nobodys can't be made: groupadd: No such file"):
        service.make_group()
    (tmp_path / "groupadd").write_text("#!/bin/sh\necho groupadd: cannot lock /etc/group >&2; exit 10\n")
    (tmp_path / "groupadd").chmod(0o755)
    with pytest.raises(ConfigError, match="can't be made: groupadd: cannot lock /etc/group"):
        service.make_group()


def test_systemd_understands_them(directory: Path) -> None:
    """But for the program, which is not there: a directive that is none is the control."""
    verify = require_tool("systemd-analyze")
    assert main(["systemd", "install"]) == 0

    def faults() -> list[str]:
        names = [str(directory / name.replace("@.", "@wg0.")) for name in service.UNITS]
        done = subprocess.run([verify, "verify", "--man=no", *names], capture_output=True, text=True, check=False)
        return [line for line in done.stderr.splitlines() if str(directory) in line]

    assert faults() == []
    (directory / "pywg.service").write_text((directory / "pywg.service").read_text() + "Nosuch=1\n")
    assert faults() != []


def test_a_dry_run_writes_nothing(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["systemd", "install", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert f"# {directory / 'pywg@.service'}\n{service.MARK}" in shown
    assert f"ExecStart={PROGRAM} run --foreground %i\n" in shown
    assert list(directory.iterdir()) == []


def test_an_operators_own_unit_stays(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = directory / "pywg@.service"
    own.write_text("[Service]\nExecStart=/bin/true\n")
    assert main(["systemd", "install"]) == 1
    assert capsys.readouterr().err.startswith(f"pywg: {own} was not written by pywg systemd install")
    assert [path.name for path in directory.iterdir()] == [own.name]
    assert main(["systemd", "uninstall"]) == 0
    assert own.exists()


def test_a_link_is_not_followed(directory: Path, tmp_path: Path) -> None:
    (directory / "pywg@.service").symlink_to(tmp_path / "elsewhere")
    assert main(["systemd", "install"]) == 1
    assert not (tmp_path / "elsewhere").exists()


def test_another_path_changes_them(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["systemd", "install"]) == 0
    monkeypatch.setattr(service, "program", lambda: Path("/srv/pywg/bin/pywg"))
    assert main(["systemd", "install"]) == 0
    assert "ExecStart=/srv/pywg/bin/pywg " in (directory / "pywg@.service").read_text()


def test_what_was_written_is_removed(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["systemd", "install"]) == 0
    (directory / "other.service").write_text("")
    capsys.readouterr()
    assert main(["systemd", "uninstall"]) == 0
    assert capsys.readouterr().out.count(" is removed\n") == len(service.UNITS)
    assert [path.name for path in directory.iterdir()] == ["other.service"]


def test_a_unit_that_is_enabled_is_not_removed(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["systemd", "install"]) == 0
    wants = directory / "multi-user.target.wants"
    wants.mkdir()
    (wants / "pywg@wg0.service").symlink_to(directory / "pywg@.service")
    assert main(["systemd", "uninstall"]) == 1
    assert "systemctl disable --now pywg@wg0\n" in capsys.readouterr().err
    assert (directory / "pywg@.service").exists()


def test_a_packages_units_suffice(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (packaged := service.PACKAGED[0]).mkdir()
    (packaged / service.UNITS[0]).write_text("")
    assert main(["systemd", "install"]) == 0
    assert "came with a package" in capsys.readouterr().out
    assert list(directory.iterdir()) == []


class TestProgram:
    """Which one root may run."""

    @pytest.fixture(autouse=True)
    def _interpreter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One of the system's, and no checkout that is somewhere."""
        require_root()
        monkeypatch.setattr(sys, "executable", "/usr/bin/env")
        monkeypatch.setattr(service, "__file__", "/usr/bin/env")

    def test_roots_own_is_taken(self) -> None:
        service.check_program(Path("/usr/bin/env"))

    @pytest.mark.parametrize("path", ["/usr/bin/e nv", "/usr/bin/%h", "/usr/bin/$HOME", "/usr/bin/env\n"])
    def test_no_characters_of_systemds(self, path: str) -> None:
        with pytest.raises(ConfigError, match="characters"):
            service.check_program(Path(path))

    def test_not_where_the_units_do_not_see_it(self) -> None:
        with pytest.raises(ConfigError, match=r"is in /root, .*/opt/pywg"):
            service.check_program(Path("/root", "pywg"))

    def test_not_where_others_may_write(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(service, "_HIDDEN", ())
        program = tmp_path / "pywg"
        program.write_text("")
        program.chmod(0o755)
        tmp_path.chmod(0o777)
        with pytest.raises(ConfigError, match=f"others than root may change {tmp_path}, "):
            service.check_program(program)
        tmp_path.chmod(0o755)
        os.chown(program, 65534, 0)
        with pytest.raises(ConfigError, match=f"others than root may change {program}, "):
            service.check_program(program)


def test_this_program_is_found_by_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "pywg"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert service.program() == program
    monkeypatch.setattr(sys, "argv", ["-c"])
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(ConfigError, match="call pywg by its path"):
        service.program()
    (tmp_path / "bin").mkdir()
    program.rename(tmp_path / "bin" / "pywg")
    assert service.program() == tmp_path / "bin" / "pywg"
