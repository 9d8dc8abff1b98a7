"""Privileges that the daemon drops after its start, so that an attacker inside it gains nothing else.

There are five steps. `begin` comes before the event loop: libuv, below uvloop, would open an io_uring, and no filter
sees what that does. `enter_root` comes after the last import, and enters a root directory where nothing is to be found
from then on but sockets (root.py). `drop_privileges` comes before the data plane's threads, because the kernel ties
users and capabilities to threads, and after the last import, too: another user may not be able to read the modules.
CAP_NET_ADMIN stays unless the operator wants it dropped (marks, socket buffers, other namespaces); so does
CAP_NET_BIND_SERVICE, if it was there (the operator may yet set a listen port below 1024), and before Linux 5.7
CAP_NET_RAW where new sockets are to be bound to a device. `for_threads` gives the data plane's threads, which parse
what strangers send, a Landlock of their own from their start, by which they can open no file and signal no other
process, and each kind a filter of its own, which leaves it the system calls that seccomp.py lists for it. `close` comes
when the daemon is ready. From then on the process can open no file and execute nothing, and the event loop's thread,
where Python runs, is under Landlock and a filter too.

Neither Landlock nor seccomp keeps stat(2) from telling the event loop's thread that a file exists, its size and its
times: where the root directory stays the system's, it does.

A step that can't be had is left out: a kernel or container without it is no reason to have no tunnel. `stats` says
which hold, and the log, at any level, which the kernel has and refused. Another user, and no CAP_NET_ADMIN, the
operator asked for: where they can't be had, the start fails.
"""

import contextlib
import errno
import os
import resource
from collections.abc import Callable, Iterator, Sequence

from pywg.runtime.base.accounts import Account
from pywg.runtime.base.failures import advice, failed, needing
from pywg.runtime.base.libc import (
    CAP_NET_ADMIN,
    CAP_NET_BIND_SERVICE,
    CAP_NET_RAW,
    CAP_SYS_ADMIN,
    CAP_SYS_CHROOT,
    permitted_capabilities,
    prctl,
)
from pywg.runtime.base.log import Log
from pywg.runtime.base.system import UNCONFINED, Confinement, Folders, SocketFile, Watcher
from pywg.runtime.confine import bpf, capabilities, identity, landlock, refused, root, seccomp
from pywg.runtime.confine.remover import Remover
from pywg.runtime.net import kernel

_PR_SET_NO_NEW_PRIVS = 38
_KEPT = 1 << CAP_NET_ADMIN | 1 << CAP_NET_BIND_SERVICE
_STEPS = (
    *("no_new_privs", "capabilities", "root", "user", "net_admin_dropped"),
    *("landlock", "landlock_threads", "seccomp", "seccomp_threads"),
)
_ABSENT = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
"""Errors of a kernel that has no such step. Any other is a refusal."""
_DEVICES_FREE_SINCE = (5, 7)
"""The first kernel that binds an unbound socket to a device without a capability."""


class Sandbox:
    """See base/system.py. A process has one."""

    def __init__(
        self,
        log: Log,
        *,
        enabled: bool,
        devices: bool = False,
        user: Account | None = None,
        net_admin: bool = True,
        guest: bool = False,
        groups: bool = False,
    ) -> None:
        self._log = log
        self._groups = groups
        self._guest = guest
        self._enabled = enabled
        self._user = user
        self._net_admin = net_admin
        needs_raw = devices and kernel.release() < _DEVICES_FREE_SINCE
        self._kept = (_KEPT if net_admin else _KEPT & ~(1 << CAP_NET_ADMIN)) | (1 << CAP_NET_RAW if needs_raw else 0)
        self._holds = dict.fromkeys(_STEPS, 0)
        self._io_uring_refused = 0
        self._counts = 0
        self._refused: list[str] = []
        """Lines for the log, when the daemon is ready: a start that fails says one thing, why."""

    def begin(self) -> None:
        """Forbids new privileges, and io_uring."""
        if not self._enabled:
            return
        self._holds["no_new_privs"] = self._attempt("no_new_privs", lambda: prctl(_PR_SET_NO_NEW_PRIVS, 1) == 0)
        if self._holds["no_new_privs"]:
            self._io_uring_refused = self._attempt("seccomp", bpf.refuse_io_uring)
        if self._io_uring_refused and not self._guest:  # a handler of SIGSYS is the whole process'
            self._counts = self._attempt("counting of refused system calls", refused.count)

    def remover(self, files: Sequence[SocketFile]) -> Remover | None:
        if self._user is None or identity.is_already(self._user) or not files:
            return None
        with needing("a process that removes the sockets at the end"):
            return Remover(files)

    def enter_root(self, folders: Folders) -> str | None:
        if not self._enabled:
            return folders.sockets
        alone = folders.sockets if not folders.others else None
        name, needed = ("CAP_SYS_CHROOT", CAP_SYS_CHROOT) if alone else ("CAP_SYS_ADMIN", CAP_SYS_ADMIN)
        if not _has(needed):
            self._log.info(f"sandbox: without a root directory of its own: no {name}")
            return folders.sockets
        enter = (lambda: root.enter_folder(alone)) if alone else (lambda: root.enter_empty(*folders))
        self._holds["root"] = self._attempt("a root directory of its own", enter)
        return "/" if alone and self._holds["root"] else folders.sockets

    def drop_privileges(self) -> None:
        if self._enabled or self._user or not self._net_admin:
            _allow_locked_memory()  # CAP_IPC_LOCK, which goes next, made it unlimited
        if self._user is not None or not self._net_admin:
            self._drop_as_asked(self._user)
        elif self._enabled:
            self._holds["capabilities"] = self._attempt(
                "the drop of capabilities", lambda: capabilities.keep_only(self._kept)
            )

    def _drop_as_asked(self, user: Account | None) -> None:
        """As a start without it would be another than was asked for, this raises DeviceError."""
        what = f"user {user.name}" if user is not None else "a daemon without CAP_NET_ADMIN"
        try:
            if user is None:
                capabilities.keep_only(self._kept)
            else:
                capabilities.keep_only(self._kept, become=lambda: identity.become(user))
        except OSError as error:
            raise failed(what, error) from error
        self._holds.update(capabilities=1, user=os.getuid() if user else 0, net_admin_dropped=int(not self._net_admin))

    @contextlib.contextmanager
    def for_threads(self) -> Iterator[Confinement]:
        """What can be had of a Landlock ruleset and of filters."""
        confinement = UNCONFINED
        if self._holds["no_new_privs"] and (version := landlock.abi()):
            with contextlib.suppress(OSError):  # `close` tries the same, and tells why not
                confinement = confinement._replace(ruleset=landlock.create_ruleset(version))
        if self._io_uring_refused and (filters := seccomp.filters(counted=bool(self._counts))):
            confinement = confinement._replace(filters=filters)
        try:
            yield confinement
        finally:
            if confinement.ruleset >= 0:
                os.close(confinement.ruleset)

    def threads_started(self, *, confined: bool, filtered: bool) -> None:
        self._holds["landlock_threads"] = int(confined)
        self._holds["seccomp_threads"] = int(filtered)
        if self._holds["no_new_privs"] and not confined and landlock.abi():
            self._refused.append("the data plane's threads are without Landlock, which was refused")
        if self._io_uring_refused and not filtered:
            self._refused.append("the data plane's threads are without filters of their own, which were refused")

    def close(self, socket_directory: str | None) -> None:
        if not self._enabled:
            return
        if self._holds["no_new_privs"]:
            self._holds["landlock"] = self._attempt("Landlock", lambda: landlock.restrict(socket_directory))
        if self._io_uring_refused:
            self._holds["seccomp"] = self._attempt("seccomp", self._restrict)
        for line in self._refused:
            self._log.error(f"sandbox: {line}")
        self._log.debug("sandbox: " + ", ".join(f"{name} {value}" for name, value in self._holds.items()))

    def watcher(self) -> Watcher:
        return refused.RefusedCalls(self._log, counted=bool(self._counts))

    def stats(self) -> dict[str, int]:
        """`sandbox_*`: 1 for what holds and 0 for what doesn't; for Landlock, the version of its ABI; for the user that
        was asked for, its number; and what refused.py counts."""
        counts = {"sandbox_refused": refused.NONE} if self._guest else refused.stats()
        return {f"sandbox_{name}": value for name, value in self._holds.items()} | counts

    def _restrict(self) -> bool:
        # Threads with filters of their own can't come under another one from here, and no thread is without then.
        return seccomp.restrict(
            all_threads=not self._holds["seccomp_threads"], counted=bool(self._counts), groups=self._groups
        )

    def _attempt(self, name: str, step: Callable[[], int | None]) -> int:
        """The value of `step` for the statistics; 1 for one that returns None, as it can only raise."""
        try:
            done = step()
        except OSError as error:
            line = f"without {name}: {error.strerror or error}"
            if error.errno in _ABSENT:
                self._log.info(f"sandbox: {line}")
            else:
                self._refused.append(line + advice(error.errno or errno.EIO))
            return 0
        if done is None:
            return 1
        if not done:
            self._log.info(f"sandbox: this kernel or machine has no {name}")
        return int(done)


def _has(capability: int) -> bool:
    with contextlib.suppress(OSError):
        return bool(permitted_capabilities() >> capability & 1)
    return True  # to be tried


def _allow_locked_memory() -> None:
    hard = 0
    with contextlib.suppress(OSError):
        _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    for limit in (resource.RLIM_INFINITY, hard):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
            return
