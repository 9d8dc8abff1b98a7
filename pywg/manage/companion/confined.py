"""The sandbox of the worker, which hears what name servers say: another user, no capability, files for reading, over
TCP name servers alone, and no system call that starts a program or reaches another process.

As in the daemon's, a step that the kernel lacks is left out: `confine` says which. Of root another user is required.
"""

import contextlib
import errno
import os
import resource
import signal
import sys
from pathlib import Path

from pywg.runtime.base.accounts import Account
from pywg.runtime.base.libc import forbid_dumps, prctl
from pywg.runtime.confine import bpf, capabilities, identity, landlock

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_DNS_PORT = 53
_DESCRIPTORS = 128
_FOLDERS = ("/etc", "/usr", "/lib", "/lib64", "/bin", "/run/systemd/resolve", "/run/resolvconf", "/run/nscd")
"""Where the system's own resolver, and Python, find what they read."""
_REFUSED = """
    execve execveat ptrace process_vm_readv process_vm_writev kill tkill pidfd_open pidfd_send_signal pidfd_getfd
    mount umount2 open_tree move_mount fsopen fsconfig fsmount mount_setattr pivot_root chroot setns unshare
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register keyctl add_key request_key
    init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff acct quotactl
    setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid capset
    listen accept accept4 memfd_create memfd_secret name_to_handle_at open_by_handle_at personality
    adjtimex clock_settime settimeofday clock_adjtime sethostname setdomainname syslog fanotify_init
"""
REFUSED = tuple(_REFUSED.split())
"""System calls that no resolver makes."""


def confine(account: Account | None, keeper: int) -> list[str]:
    """Puts this process, of one thread, into the sandbox, for good. Returns what it does not have, in words.

    `account`: the user to become; None where this process is not root. `keeper` is the process with which it ends.
    Raises OSError where it can't become that user.
    """
    missing = []
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))
    if account is not None:
        capabilities.keep_only(0, become=lambda: identity.become(account))
    else:
        capabilities.keep_only(0)
    forbid_dumps()
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user takes it back
    if os.getppid() != keeper:
        os._exit(1)
    for name, step in (("Landlock", _landlock), ("seccomp", lambda: bpf.refuse(REFUSED))):
        try:
            if not step():
                missing.append(name)
        except OSError as error:
            missing.append(f"{name} ({errno.errorcode.get(error.errno or 0, '')})")
    return missing


def _landlock() -> bool:
    package = str(Path(__file__).parents[3])
    folders = {*_FOLDERS, sys.prefix, sys.base_prefix, package, *filter(None, sys.path)}
    return landlock.restrict_to_reading(sorted(folders), tcp_ports=[_DNS_PORT]) > 0
