"""What the command sees of the machine's files that tells, or asks, about the network: mount_namespaces(7).

Names are asked of the tunnel's servers alone. glibc asks those of resolv.conf, but also whatever nsswitch.conf names
(systemd-resolved, Avahi) and nscd, each by a socket in /run: these would ask in the machine's network. So nsswitch.conf
names files and DNS, and the sockets are not there, nor is the machine's D-Bus, by which some of them can be asked. /etc
and /run are file systems of their own, in which all else is mounted under its name: a mount on a file itself would be
gone as soon as the machine replaces that file.
"""

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Mapping

from pywg.runtime.base.libc import mount

_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _RECURSIVE, _SLAVE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 19
_INERT = _NOSUID | _NODEV | _NOEXEC
_RESOLVERS = ("nscd", "avahi-daemon", "dbus", "mDNSResponder")
"""In /run: sockets, or folders of sockets, of those who resolve names for others. By D-Bus systemd-resolved and Avahi
do: `resolvectl query` and `avahi-resolve` ask there."""
_RESOLVED = "resolve"
"""In /run/systemd: the same."""
_SOURCES = ("files", "myhostname", "dns")
"""In nsswitch.conf: what asks nobody in another way than by this network."""
_HOSTS = re.compile(r"^\s*hosts:.*$", re.M)


def see_own_network(resolv_conf: str) -> list[str]:
    """In a mount namespace of this process' own: the files are those of its network and PID namespaces.

    Returns what could not be had and harms nothing, in words. Raises OSError for what would let a name out.
    """
    folder = os.getcwd() if _has_folder() else "/"
    mount("", "/", "", _RECURSIVE | _SLAVE)
    files = {"resolv.conf": resolv_conf}
    with contextlib.suppress(FileNotFoundError):
        files["nsswitch.conf"] = asking_dns_alone(_text("/etc/nsswitch.conf"))
    replace("/etc", files, without=())
    for run in sorted({os.path.realpath(path) for path in ("/run", "/var/run") if os.path.isdir(path)}):
        replace(run, {}, without=_RESOLVERS)
        if os.path.isdir(f"{run}/systemd/{_RESOLVED}"):
            replace(f"{run}/systemd", {}, without=(_RESOLVED,))
    missing = []
    try:
        mount("proc", "/proc", "proc", _INERT)
    except OSError as error:
        missing.append(f"processes of the machine are visible inside: no /proc of its own ({error.strerror})")
    with contextlib.suppress(OSError):  # then /sys/class/net shows the machine's interfaces, which can't be used
        _see_own_interfaces()
    with contextlib.suppress(OSError):
        os.chdir(folder)  # by its path, as it may have got another one there
    return missing


def replace(folder: str, files: Mapping[str, str], *, without: tuple[str, ...]) -> None:
    """Mounts a file system on `folder` that has what was there, but those `without`, and these files with these texts.

    What is made or removed in the folder itself later is not seen. Raises OSError.
    """
    before = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        names = os.listdir(folder)
        mount("pywg", folder, "tmpfs", _INERT, "mode=755,size=1m")
        for name in names:
            if name not in without and name not in files:
                _take(before, folder, name)
        for name, text in files.items():
            with open(f"{folder}/{name}", "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
                os.fchmod(file.fileno(), 0o644)
        mount("", folder, "", _REMOUNT | _BIND | _INERT | _RDONLY)
    finally:
        os.close(before)


def asking_dns_alone(nsswitch: str) -> str:
    """The text of nsswitch.conf with no source of hosts that asks outside of this network namespace."""
    found = _HOSTS.search(nsswitch)
    words = found[0].partition("#")[0].split()[1:] if found else []
    sources = [word for word in words if word in _SOURCES] or ["files"]
    line = f"hosts: {' '.join(sources if 'dns' in sources else [*sources, 'dns'])}"
    return _HOSTS.sub(line, nsswitch) if found else f"{nsswitch.rstrip()}\n{line}\n"


def _take(before: int, folder: str, name: str) -> None:
    """Puts one entry of the old folder under its name into the new one. What can't be mounted is not there."""
    with contextlib.suppress(OSError):
        mode = os.lstat(name, dir_fd=before).st_mode
        there = f"{folder}/{name}"
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(name, dir_fd=before), there)
            return
        if stat.S_ISDIR(mode):
            os.mkdir(there)
        else:
            os.close(os.open(there, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        mount(f"/proc/self/fd/{before}/{name}", there, "", _BIND | _RECURSIVE)


def _see_own_interfaces() -> None:
    with _held("/sys/fs/cgroup") as groups:
        mount("sysfs", "/sys", "sysfs", _INERT)
        if groups >= 0:
            mount(f"/proc/self/fd/{groups}", "/sys/fs/cgroup", "", _BIND | _RECURSIVE)


@contextlib.contextmanager
def _held(path: str) -> Iterator[int]:
    """A descriptor of a folder; -1 where there is none."""
    try:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield -1
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _has_folder() -> bool:
    with contextlib.suppress(OSError):
        return bool(os.getcwd())
    return False


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
