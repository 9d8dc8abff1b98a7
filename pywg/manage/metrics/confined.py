"""The sandbox of the exporter, which hears whoever can connect to its address: no capability, files for reading alone,
no connection by TCP, and no system call that starts a program or reaches another process.

As in the daemon's, a step that the kernel lacks is left out. Of root another user is required: one in the groups of the
sockets for monitors, and in no other.
"""

import contextlib
import os
import resource
import sys
from collections.abc import Iterable
from pathlib import Path

from pywg.manage.companion.confined import REFUSED as REFUSED_TO_RESOLVERS
from pywg.runtime.base.accounts import Account
from pywg.runtime.base.libc import forbid_dumps, prctl
from pywg.runtime.confine import bpf, capabilities, landlock

_PR_SET_NO_NEW_PRIVS = 38
_FOLDERS = ("/etc", "/usr", "/lib", "/lib64", "/proc", "/run", "/var/run")
"""Where daemons' sockets and what the kernel says of them are, and what Python reads late."""
_SERVES = frozenset({"listen", "accept", "accept4"})
REFUSED = tuple(name for name in REFUSED_TO_RESOLVERS if name not in _SERVES)


def groups_of(sockets: Iterable[str]) -> list[int]:
    """The groups of files that a user needs to use them."""
    found = set()
    for path in sockets:
        with contextlib.suppress(OSError):
            found.add(os.stat(path, follow_symlinks=False).st_gid)
    return sorted(found - {0})


def confine(account: Account | None, groups: list[int], readable: Iterable[str]) -> list[str]:
    """Puts this process, of one thread, into the sandbox, for good. Returns what it does not have, in words.

    `account`: the user to become, in `groups` besides its own; None where this process is not root. `readable` are
    further folders. Raises OSError where it can't become that user.
    """
    missing = []
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def become() -> None:
        if account is not None:
            os.setgroups(groups)
            os.setresgid(account.gid, account.gid, account.gid)
            os.setresuid(account.uid, account.uid, account.uid)

    capabilities.keep_only(0, become=become)
    forbid_dumps()
    package = str(Path(__file__).parents[3])
    folders = {*_FOLDERS, sys.prefix, sys.base_prefix, package, *readable, *filter(None, sys.path)}

    def landlocked() -> bool:
        return landlock.restrict_to_reading(sorted(folders), tcp_ports=[]) > 0

    for name, step in (("Landlock", landlocked), ("seccomp", lambda: bpf.refuse(REFUSED))):
        try:
            if not step():
                missing.append(name)
        except OSError as error:
            missing.append(f"{name} ({os.strerror(error.errno or 0)})")
    return missing
