"""The user that the daemon becomes: credentials(7), and the rules of capabilities(7) for a change of user."""

import os

from pywg.runtime.base.accounts import Account
from pywg.runtime.base.libc import CAP_SETGID, CAP_SETUID, forbid_dumps, permitted_capabilities, prctl

_PR_SET_KEEPCAPS = 8


def is_already(account: Account) -> bool:
    """Whether this process is that user, with that group."""
    return set(os.getresuid()) == {account.uid} and set(os.getresgid()) == {account.gid}


def may_become(account: Account) -> bool:
    """Whether this process is that user, or has the capabilities to become it."""
    permitted = permitted_capabilities()
    return is_already(account) or bool(permitted >> CAP_SETUID & permitted >> CAP_SETGID & 1)


def become(account: Account) -> None:
    """Makes the process that user for good, in one group. What capabilities it has stay permitted, and none effective.

    For a process of one thread, or its other threads would keep their capabilities. Raises OSError.
    """
    if is_already(account):
        return
    prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    prctl(_PR_SET_KEEPCAPS, 0)
    forbid_dumps()  # a change of user makes it what fs.suid_dumpable says
