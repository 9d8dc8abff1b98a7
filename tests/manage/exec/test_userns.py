"""Why namespaces can't be had: each knob by its name, from files as the kernel has them."""

import errno
import os
from pathlib import Path

import pytest

from pywg.manage.exec.userns import NEW_NET, NEW_PID, NEW_USER, refusal

OFF = "`sysctl {0}={1}`, as root, allows them"


@pytest.mark.parametrize(
    ("files", "code", "kinds", "why"),
    [
        (
            {"kernel/unprivileged_userns_clone": "0", "user/max_user_namespaces": "100"},
            errno.EPERM,
            NEW_USER,
            "kernel.unprivileged_userns_clone is 0; " + OFF.format("kernel.unprivileged_userns_clone", 1),
        ),
        (
            {"kernel/unprivileged_userns_clone": "1", "user/max_user_namespaces": "0"},
            errno.ENOSPC,
            NEW_USER,
            "user.max_user_namespaces is 0; " + OFF.format("user.max_user_namespaces", 15000),
        ),
        (
            {"user/max_user_namespaces": "9", "user/max_net_namespaces": "0"},
            errno.ENOSPC,
            NEW_NET,
            "user.max_net_namespaces is 0; " + OFF.format("user.max_net_namespaces", 15000),
        ),
        (
            {"user/max_user_namespaces": "9"},
            errno.ENOSPC,
            NEW_USER,
            "so many are in use as user.max_user_namespaces allows (9); `sysctl user.max_user_namespaces=NUMBER`, as "
            "root, allows more",
        ),
        (
            {"kernel/apparmor_restrict_unprivileged_userns": "1", "user/max_user_namespaces": "9"},
            errno.EACCES,
            NEW_PID,
            "kernel.apparmor_restrict_unprivileged_userns is 1; "
            + OFF.format("kernel.apparmor_restrict_unprivileged_userns", 0)
            + "; or give pywg an AppArmor profile with `userns,`: docs/exec.md",
        ),
        ({}, errno.EINVAL, NEW_USER, "this kernel is built without user namespaces (CONFIG_USER_NS)"),
        (
            {"kernel/apparmor_restrict_unprivileged_userns": "0"},
            errno.EPERM,
            NEW_USER,
            "Operation not permitted; nobody may, in a chroot or by a profile of the container (seccomp, SELinux)",
        ),
    ],
    ids=["clone", "none", "net", "full", "apparmor", "kernel", "container"],
)
def test_the_knob_is_named(files: dict[str, str], code: int, kinds: int, why: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    error = refusal(OSError(code, os.strerror(code)), kinds, sysctl=tmp_path)
    assert error.errno == code
    assert error.strerror == f"this needs namespaces of its own, and can't have them: {why}"
