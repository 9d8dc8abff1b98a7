"""Landlock: takes files, TCP and other processes from the calling thread: landlock(7), include/uapi/linux/landlock.h.

Open descriptors stay usable, and stat(2) works on everything. A domain holds the thread that enters it, and threads
that this one starts. Since ABI 8 it can hold all threads of the process at once.
"""

import contextlib
import ctypes
import os
import struct

from pywg.runtime.base.libc import syscall

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture but alpha
_VERSION = 1
_RULE_PATH_BENEATH, _RULE_NET_PORT = 1, 2
_RESTRICT_SELF_TSYNC = 8

_READ_FILE, _READ_DIRECTORY, _REMOVE_FILE = 1 << 2, 1 << 3, 1 << 5
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""ABI -> how many rights of access to files it knows, bit 0 first: REFER came with 2, TRUNCATE with 3, IOCTL_DEV 5."""
_NET_SINCE, _NET_BIND_AND_CONNECT_TCP, _NET_CONNECT_TCP = 4, 3, 2
_SCOPE_SINCE, _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 6, 3
_ALL_THREADS_SINCE = 8


def abi() -> int:
    """The kernel's version of Landlock; 0 where the kernel has none, or has it turned off."""
    try:
        return syscall(_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


def restrict(removable: str | None) -> int:
    """Forbids all that this kernel's Landlock can forbid, but removing files that lie in directory `removable`.

    Returns the ABI that is in force, 0 for none. The thread must have no_new_privs. Raises OSError.
    """
    version = abi()
    if version < 1:
        return 0
    ruleset = create_ruleset(version)
    try:
        if removable is not None:
            _allow(ruleset, removable, _REMOVE_FILE)
        _enter(ruleset, version)
    finally:
        os.close(ruleset)
    return version


def restrict_to_reading(directories: list[str], *, tcp_ports: list[int]) -> int:
    """Forbids all that this kernel's Landlock can forbid, but reading in these directories, and connecting to these
    ports by TCP. One that isn't there is left out. Otherwise as `restrict`."""
    version = abi()
    if version < 1:
        return 0
    ruleset = create_ruleset(version)
    try:
        for directory in directories:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                _allow(ruleset, directory, _READ_FILE | _READ_DIRECTORY)
        if version >= _NET_SINCE:
            for port in tcp_ports:
                rule = _buffer(struct.pack("=QQ", _NET_CONNECT_TCP, port))
                syscall(_ADD_RULE, ruleset, _RULE_NET_PORT, rule, 0)
        _enter(ruleset, version)
    finally:
        os.close(ruleset)
    return version


def create_ruleset(version: int) -> int:
    """A descriptor, the caller's, of a ruleset for ABI `version` that allows nothing. Raises OSError."""
    rights = max(count for since, count in _FS_RIGHTS.items() if since <= version)
    attributes = struct.pack("=Q", (1 << rights) - 1)
    if version >= _NET_SINCE:
        attributes += struct.pack("=Q", _NET_BIND_AND_CONNECT_TCP)
    if version >= _SCOPE_SINCE:
        attributes += struct.pack("=Q", _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS)
    return syscall(_CREATE_RULESET, _buffer(attributes), len(attributes), 0)


def _allow(ruleset: int, directory: str, rights: int) -> None:
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, _buffer(struct.pack("=Qi", rights, fd)), 0)
    finally:
        os.close(fd)


def _enter(ruleset: int, version: int) -> None:
    if version >= _ALL_THREADS_SINCE:
        try:
            syscall(_RESTRICT_SELF, ruleset, _RESTRICT_SELF_TSYNC)
        except OSError:
            pass  # this thread alone, then, as before ABI 8
        else:
            return
    syscall(_RESTRICT_SELF, ruleset, 0)


def _buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, len(data))
