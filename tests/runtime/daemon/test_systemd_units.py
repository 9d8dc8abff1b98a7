"""The shipped systemd units: systemd understands every line, and they ask for what the daemon needs. dropin: 21."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pywg.cli.parser import parser_of
from tests.requirements import require_tool

pytestmark = pytest.mark.dropin("21")

EXPOSED_AT_MOST = 30  # tenths: systemd's "OK" ends at 5.0; an ordinary service has 9.6
UNITS = Path(__file__).resolve().parents[3] / "docs" / "systemd"


def verify(directory: Path, unit: str) -> str:
    """What systemd-analyze has to say about `unit`; its own units are found as well."""
    require_tool("systemd-analyze")
    ended = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{directory}:"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = [line for line in ended.stderr.splitlines() if "pywg" in line or "wg-quick" in line]
    return "\n".join(said) + ("" if ended.returncode == 0 or said else f"status {ended.returncode}")


@pytest.mark.parametrize(
    ("file", "unit"),
    [
        ("pywg@.service", "pywg@wg0.service"),
        ("pywg.service", "pywg.service"),
        ("pywg-companion@.service", "pywg-companion@wg0.service"),
    ],
)
def test_native_unit(tmp_path: Path, file: str, unit: str) -> None:
    text = (UNITS / file).read_text()
    installed = tmp_path / "pywg"
    shutil.copy("/bin/true", installed)
    (tmp_path / file).write_text(text.replace("/usr/local/bin/pywg", str(installed)))
    assert verify(tmp_path, unit) == ""


def test_the_unit_of_several_differs_in_what_is_several() -> None:
    one, several = ((UNITS / file).read_text().splitlines() for file in ("pywg@.service", "pywg.service"))
    keys = {line.partition("=")[0] for line in {*one} ^ {*several} if not line.startswith("#")}
    assert keys <= {
        *("Description", "EnvironmentFile", "ExecReload", "ExecStart", "ExecStartPost", "FileDescriptorStoreMax"),
        "SyslogIdentifier",
    }


def test_a_mistake_would_be_seen(tmp_path: Path) -> None:
    text = (UNITS / "pywg@.service").read_text()
    (tmp_path / "pywg@.service").write_text(text.replace("WatchdogSec=10", "WatchdogSec=soon"))
    assert "Failed to parse sec value, ignoring: soon" in verify(tmp_path, "pywg@wg0.service")


def test_unit_of_up(tmp_path: Path) -> None:
    text = (UNITS / "pywg-quick@.service").read_text()
    installed = tmp_path / "pywg"
    shutil.copy("/bin/true", installed)
    (tmp_path / "pywg-quick@.service").write_text(text.replace("/usr/local/bin/pywg", str(installed)))
    assert verify(tmp_path, "pywg-quick@wg0.service") == ""


def test_unit_of_up_runs_commands_that_there_are() -> None:
    """Each with its options, about the file of the instance."""
    unit = UnitParser(strict=False, interpolation=None)
    unit.read(UNITS / "pywg-quick@.service")
    service = unit["Service"]
    assert service["Type"] == "notify"
    for setting, command in (("Start", "up"), ("Reload", "reload"), ("Stop", "down"), ("StopPost", "down")):
        program, *words = service[f"Exec{setting}"].replace("%i", "wg0").split()
        assert (program, words[0]) == ("/usr/local/bin/pywg", command)
        assert parser_of(command).parse(words[1:]).target == "/etc/wireguard/wg0.conf"


def test_drop_in(tmp_path: Path) -> None:
    if not Path("/lib/systemd/system/wg-quick@.service").exists():
        pytest.skip("wireguard-tools brought no wg-quick@.service")
    (tmp_path / "wg-quick@.service.d").mkdir()
    shutil.copy(UNITS / "wg-quick@.service.d-pywg.conf", tmp_path / "wg-quick@.service.d" / "pywg.conf")
    assert verify(tmp_path, "wg-quick@wg0.service") == ""


def test_drop_ins_of_the_native_unit(tmp_path: Path) -> None:
    """For a user, and for shards: what each does is for tests/netns/test_systemd.py."""
    installed = tmp_path / "pywg"
    shutil.copy("/bin/true", installed)
    text = (UNITS / "pywg@.service").read_text()
    (tmp_path / "pywg@.service").write_text(text.replace("/usr/local/bin/pywg", str(installed)))
    (tmp_path / "pywg@.service.d").mkdir()
    for name in ("user", "shards"):
        shutil.copy(UNITS / f"pywg@.service.d-{name}.conf", tmp_path / "pywg@.service.d" / f"{name}.conf")
    assert verify(tmp_path, "pywg@wg0.service") == ""


def install_lines() -> list[str]:
    """The commands of the units' README that copy drop-ins: `pywg systemd install` writes the units."""
    lines = re.findall(r"^ +(install .*)$", (UNITS / "README.md").read_text(), re.M)
    assert len(lines) == 3
    return lines


@pytest.mark.parametrize("units", ["docs/systemd", "/opt/pywg/share/pywg/systemd"])
def test_the_documented_commands_install_them(tmp_path: Path, units: str) -> None:
    """In a checkout, and in an installation in /opt/pywg: that its files are there is for test_installation.py."""
    assert f"\n    units={units} " in (UNITS / "README.md").read_text()
    (tmp_path / "installed/share/pywg").mkdir(parents=True)
    (tmp_path / "installed/share/pywg/systemd").symlink_to(UNITS)
    (tmp_path / "system").mkdir()
    for line in install_lines():
        script = f"units={units}; {line}".replace("/etc/systemd", str(tmp_path)).replace(
            "/opt/pywg", f"{tmp_path}/installed"
        )
        subprocess.run(["sh", "-ec", script], cwd=UNITS.parents[1], check=True)
    assert (tmp_path / "system/wg-quick@.service.d/pywg.conf").exists()
    for name in ("user", "shards"):
        assert (tmp_path / f"system/pywg@.service.d/{name}.conf").exists()


def test_the_unit_finds_what_the_readme_installs() -> None:
    program = "/usr/local/bin/pywg"
    assert f"ln -s /opt/pywg/bin/pywg {program}\n" in (UNITS.parents[1] / "README.md").read_text()
    for unit in ("pywg@.service", "pywg-quick@.service", "pywg.service"):
        assert f"ExecStart={program} " in (UNITS / unit).read_text()


def test_native_unit_is_confined() -> None:
    """What is left is what the daemon is for: root, CAP_NET_ADMIN, the host's network and Internet sockets."""
    require_tool("systemd-analyze")
    options = ("--offline=yes", "--no-pager", f"--threshold={EXPOSED_AT_MOST}")
    ended = subprocess.run(
        ["systemd-analyze", "security", *options, str(UNITS / "pywg@.service")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout


class UnitParser(configparser.ConfigParser):
    """Of files whose keys have capitals."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def test_native_unit_has_what_the_daemon_needs() -> None:
    unit = UnitParser(strict=False, interpolation=None)
    unit.read(UNITS / "pywg@.service")
    service = unit["Service"]
    assert (service["Type"], service["ExecStart"]) == ("notify", "/usr/local/bin/pywg run --foreground %i")
    assert "CAP_NET_ADMIN" in service["CapabilityBoundingSet"].split()
    assert (service["RuntimeDirectory"], service["RuntimeDirectoryMode"]) == ("wireguard", "0755")
    assert service["RuntimeDirectoryPreserve"] == "yes"  # other interfaces' sockets lie there
    assert service["DeviceAllow"] == "/dev/net/tun rw"
    assert int(service["WatchdogSec"]) > 0
