"""FILE or NAME on the command line: the interface, the file that configures it, and what the file says."""

import errno
import os
import re
import stat
import sys
from dataclasses import dataclass, field

from pywg.config import wg_quick
from pywg.config.interface import interface_name_fault
from pywg.config.quick_lines import squeeze
from pywg.config.wg_quick import Setting, WgQuickConfig
from pywg.errors import ConfigError, DeviceError, WgQuickError

DIRECTORY = "/etc/wireguard"
NO_FILE = "configuration"
"""What errors call a text that is in no file."""
_NAME = re.compile(r"[a-zA-Z0-9_=+.-]{1,15}")
"""wg-quick's: such a name needs no quoting in a hook."""
_MOST_FILE = 1 << 26
_NAMED = 4


@dataclass(frozen=True)
class Target:
    """An interface and its file."""

    interface: str
    path: str
    """of the file, which need not exist; empty: a program has its text"""


@dataclass(frozen=True)
class QuickFile:
    """A file that was read."""

    target: Target
    config: WgQuickConfig
    settings: list[Setting]
    text: str = field(repr=False)

    def error(self, message: str, name: str, value: str) -> WgQuickError:
        """About the first setting `name` that holds `value`: its place, and the message."""
        file = self.target.path or NO_FILE
        for setting in self.settings:
            if setting.name == name and squeeze(setting.value) == value:
                return WgQuickError(f"{name}: {message}", file=file, line=setting.line, column=setting.column)
        return WgQuickError(f"{name}: {message}", file=file, line=1)


def find(given: str) -> Target:
    """What an argument means: a file when it has a slash or ends in .conf, else the name of an interface.

    Raises ConfigError where that gives no name of an interface.
    """
    if "/" not in given and not given.endswith(".conf"):
        return Target(_checked(given, given), f"{DIRECTORY}/{given}.conf")
    name = os.path.basename(given)
    if not name.endswith(".conf"):
        meant = f": did you mean {given}.conf?" if os.path.exists(f"{given}.conf") and given.isprintable() else ""
        raise ConfigError(f"{given!a}: a file has to be called like its interface, with .conf after it{meant}")
    return Target(_checked(name.removesuffix(".conf"), given), given)


def any_file(given: str) -> Target:
    """A file, whatever its name, or that of an interface. Raises ConfigError as `find`."""
    return Target("", given) if "/" in given or os.path.exists(given) else find(given)


def read(target: Target) -> QuickFile:
    """Raises WgQuickError for what the file says, and DeviceError when it can't be read."""
    return file_of(target, wg_quick.as_text(load(target)))


def file_of(target: Target, text: str) -> QuickFile:
    """A file by its text, which has been read. Raises WgQuickError."""
    reading = wg_quick.read(text, target.path or NO_FILE)
    if reading.errors:
        raise reading.errors[0]
    return QuickFile(target, reading.config, reading.settings, text)


def load(target: Target, *, warn: bool = True) -> bytes:
    """What is in the file. Warns, as wg-quick, when every user may do something with it. Raises DeviceError."""
    try:
        with open(target.path, "rb") as file:
            if warn:
                _warn_of_others(target.path, os.fstat(file.fileno()))
            data = file.read(_MOST_FILE + 1)
    except OSError as error:
        raise _unreadable(target, error) from error
    if len(data) > _MOST_FILE:
        raise DeviceError(errno.EFBIG, f"{target.path} is no configuration: it has more than {_MOST_FILE >> 20} MiB")
    return data


def _checked(name: str, given: str) -> str:
    fault = interface_name_fault(name)
    if not fault and not _NAME.fullmatch(name):
        fault = "has letters, digits and _=+.- alone here, as for wg-quick"
    if fault:
        raise ConfigError(f"{given!a} gives no interface: an interface's name {fault}")
    return name


def _unreadable(target: Target, error: OSError) -> DeviceError:
    text = f"{target.path} can't be read: {error.strerror}"
    if error.errno == errno.ENOENT:
        text = f"there is no {target.path}"
        elsewhere = f"{DIRECTORY}/{target.interface}.conf", f"./{target.interface}.conf"
        if there := next((one for one in elsewhere if one != target.path and os.path.exists(one)), ""):
            text += f": did you mean {there}?"
        elif others := _files():
            text += f"; there is {', '.join(others)}"
        elif target.path == elsewhere[0]:
            text += ": `pywg init site-to-site` writes files that join two sites"
    elif error.errno in (errno.EACCES, errno.EPERM) and os.geteuid():
        text += "; run this as root"
    return DeviceError(error.errno or errno.EIO, text)


def _files() -> list[str]:
    """Some of the files that are where files belong."""
    try:
        names = sorted(name for name in os.listdir(DIRECTORY) if name.endswith(".conf") and name.isprintable())
    except OSError:
        return []
    return [f"{DIRECTORY}/{name}" for name in names[:_NAMED]]


def _warn_of_others(path: str, found: os.stat_result) -> None:
    """As wg-quick: where others may do something with the file, in a folder that they may use."""
    folder = os.stat(os.path.dirname(os.path.realpath(path)))
    if found.st_mode & folder.st_mode & stat.S_IRWXO:
        print(f"pywg: warning: {path} is accessible to every user: `chmod 600 {path}`", file=sys.stderr)
