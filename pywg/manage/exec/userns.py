"""User namespaces in which this user stays who it is, and why there is none: user_namespaces(7)."""

import contextlib
import errno
import os
from pathlib import Path

from pywg.errors import DeviceError
from pywg.runtime.base.libc import unshare

NEW_USER, NEW_PID, NEW_NET, NEW_MOUNTS = 0x10000000, 0x20000000, 0x40000000, 0x20000
_KINDS = {NEW_USER: "user", NEW_PID: "pid", NEW_NET: "net", NEW_MOUNTS: "mnt"}
_SYSCTL = Path("/proc/sys")
_REFUSALS = (errno.EPERM, errno.EACCES)
_FULL = (errno.ENOSPC, errno.EUSERS)


def enter_user_namespace() -> None:
    """Makes one for this process, of one thread, in which it has every capability, and its user and group are what they
    were; no other user has a number there. Raises DeviceError that names what forbids it."""
    uid, gid = os.geteuid(), os.getegid()
    enter(NEW_USER)
    try:
        with contextlib.suppress(FileNotFoundError):
            _write("setgroups", "deny")
        _write("uid_map", f"{uid} {uid} 1")
        _write("gid_map", f"{gid} {gid} 1")
    except OSError as error:
        raise refusal(error, NEW_USER) from error


def enter(kinds: int) -> None:
    """unshare(2). Raises DeviceError that names what forbids it."""
    try:
        unshare(kinds)
    except OSError as error:
        raise refusal(error, kinds) from error


def refusal(error: OSError, kinds: int, *, sysctl: Path = _SYSCTL) -> DeviceError:
    """One line: that these namespaces can't be had, and the knob that forbids them, as far as it can be found."""
    code = error.errno or errno.EIO
    return DeviceError(code, f"this needs namespaces of its own, and can't have them: {_why(error, kinds, sysctl)}")


def _why(error: OSError, kinds: int, sysctl: Path) -> str:
    code = error.errno or errno.EIO
    if _knob(sysctl, "kernel/unprivileged_userns_clone") == "0":
        return _off("kernel.unprivileged_userns_clone", "0", "1")
    limits = [f"user.max_{kind}_namespaces" for number, kind in _KINDS.items() if kinds & number]
    found = {name: _knob(sysctl, name.replace(".", "/")) for name in ("user.max_user_namespaces", *limits)}
    for name, most in found.items():
        if most == "0":
            return _off(name, "0", "15000")
    for name in limits:
        if (most := found[name]) and code in _FULL:
            return f"so many are in use as {name} allows ({most}); `sysctl {name}=NUMBER`, as root, allows more"
    if code in _REFUSALS and _knob(sysctl, "kernel/apparmor_restrict_unprivileged_userns") == "1":
        name = "kernel.apparmor_restrict_unprivileged_userns"
        return f"{_off(name, '1', '0')}; or give pywg an AppArmor profile with `userns,`: docs/exec.md"
    if code in (errno.EINVAL, errno.ENOSYS):
        return "this kernel is built without user namespaces (CONFIG_USER_NS)"
    if code in _REFUSALS:
        return f"{error.strerror}; nobody may, in a chroot or by a profile of the container (seccomp, SELinux)"
    return error.strerror or str(error)


def _off(name: str, value: str, wanted: str) -> str:
    return f"{name} is {value}; `sysctl {name}={wanted}`, as root, allows them"


def _knob(sysctl: Path, name: str) -> str:
    """Empty: this kernel has no such knob, or doesn't tell."""
    with contextlib.suppress(OSError):
        return (sysctl / name).read_text().strip()
    return ""


def _write(name: str, text: str) -> None:
    fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
