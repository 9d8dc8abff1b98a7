"""systemd's units for an installation that no package manager has made: `pywg systemd install` and `uninstall`.

The units come with pywg (docs/systemd). Written where systemd looks, they name this installation's program. Root runs
that program, so nobody else may be able to change it.
"""

import contextlib
import grp
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from pywg.errors import ConfigError
from pywg.manage.installed import CHECKOUT, of_installation
from pywg.manage.whole_file import replacing

UNITS = ("pywg-quick@.service", "pywg@.service", "pywg-companion@.service", "pywg-metrics.service", "pywg.service")
MONITORS = "pywg-monitor"
"""The group of pywg-metrics.service."""
DIRECTORY = Path("/etc/systemd/system")
PACKAGED = (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))
WRITTEN_FOR = "/usr/local/bin/pywg"
MARK = "# Written by pywg systemd install"
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108  of ProtectHome= and PrivateTmp=
_PLAIN = re.compile(r"[A-Za-z0-9/._+-]+")
_OTHERS_MAY_WRITE = 0o022


class Unit(NamedTuple):
    """What is written, and where."""

    path: Path
    text: str


def units(program: Path, directory: Path) -> list[Unit]:
    """The units for a program. Raises ConfigError: they don't belong to this installation, or can't be found."""
    check_program(program)
    source = _source()
    found = []
    for name in UNITS:
        text = (source / name).read_text().replace(WRITTEN_FOR, str(program))
        found.append(Unit(directory / name, f"{MARK}, for {program}\n{text}"))
    return found


def program() -> Path:
    """This installation's program, by the path by which it was called. Raises ConfigError: there is none."""
    called = Path(sys.argv[0])
    for path in (called, Path(sys.prefix) / "bin" / "pywg"):
        if path.is_absolute() and path.name == "pywg" and os.access(path, os.X_OK) and path.is_file():
            return path
    raise ConfigError(f"there is no {sys.prefix}/bin/pywg: call pywg by its path, as it is installed")


def check_program(path: Path) -> None:
    """Raises ConfigError for one that a unit can't start, or that others than root may change."""
    if not _PLAIN.fullmatch(str(path)):
        raise ConfigError(f"{str(path)!a} has characters that mean something in a unit")
    package = Path(__file__).resolve().parents[1]
    for place in dict.fromkeys((path, path.resolve(), Path(sys.executable).absolute(), package)):
        for hidden in _HIDDEN:
            if place.is_relative_to(hidden):
                raise ConfigError(f"{place} is in {hidden}, which the units don't see: install pywg in /opt/pywg")
        for part in (place, *place.parents):
            status = part.stat()
            if status.st_uid != 0 or status.st_mode & _OTHERS_MAY_WRITE:
                raise ConfigError(f"others than root may change {part}, and the units run {path} as root")


def install(wanted: list[Unit]) -> list[Path]:
    """Writes them, and returns those that have changed. Raises ConfigError, and nothing is written: a file there is the
    operator's own."""
    for unit in wanted:
        if _is_others(unit.path):
            raise ConfigError(f"{unit.path} was not written by pywg systemd install: move it away first")
    changed = [unit for unit in wanted if not unit.path.exists() or unit.path.read_text() != unit.text]
    for unit in changed:
        with replacing(unit.path) as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(unit.text.encode())
    return [unit.path for unit in changed]


def uninstall(directory: Path) -> list[Path]:
    """Removes what `install` has written, and returns it. Raises ConfigError, and nothing is removed: a tunnel is
    enabled, and would be missing at the next start of the machine."""
    ours = [directory / name for name in UNITS if (directory / name).exists() and not _is_others(directory / name)]
    for path in ours:
        pattern = path.name.replace("@.", "@*.")
        for enabled in sorted(directory.glob(f"*.wants/{pattern}")):
            raise ConfigError(
                f"{enabled.name} is enabled: systemctl disable --now {enabled.name.removesuffix('.service')}"
            )
    for path in ours:
        path.unlink()
    return ours


def reload_systemd() -> None:
    """Has systemd read its units anew, where it runs. Raises ConfigError."""
    if not Path("/run/systemd/system").is_dir():
        return
    done = subprocess.run(["systemctl", "daemon-reload"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"systemctl daemon-reload: {done.stderr.strip()}")


def make_group() -> bool:
    """Makes the group that daemons may let ask as monitors do. Whether it was not there. Raises ConfigError."""
    with contextlib.suppress(KeyError):
        grp.getgrnam(MONITORS)
        return False
    try:
        done = subprocess.run(["groupadd", "--system", MONITORS], capture_output=True, text=True, check=False)
    except OSError as error:
        raise ConfigError(f"the group {MONITORS} can't be made: groupadd: {error.strerror}") from error
    if done.returncode:
        raise ConfigError(f"the group {MONITORS} can't be made: {done.stderr.strip()}")
    return True


def packaged() -> Path | None:
    """The unit of a package of the distribution's, which nothing is to be written over."""
    return next((place / UNITS[0] for place in PACKAGED if (place / UNITS[0]).exists()), None)


def _source() -> Path:
    """The directory of the units that came with pywg."""
    for path in (of_installation(f"systemd/{UNITS[0]}"), CHECKOUT / "docs" / "systemd" / UNITS[0]):
        if path and path.exists():
            return path.parent
    raise ConfigError("the units are missing from this installation")


def _is_others(path: Path) -> bool:
    return path.is_symlink() or (path.exists() and not path.read_text(errors="replace").startswith(MARK))
