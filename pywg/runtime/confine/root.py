"""Root directories that hold nothing but what the daemon still has to find: chroot(2), pivot_root(2).

One folder alone becomes the root itself, which takes CAP_SYS_CHROOT. Several folders need a root in which they stand
under their own names: an empty file system in a mount namespace of the daemon's own, which takes CAP_SYS_ADMIN. The
namespace has no other mount, so it keeps no file system of the machine in use.

No descriptor of a directory stays open here: it would be a way out.
"""

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence

from pywg.runtime.base.libc import mount, set_namespace, syscall, unmount, unshare
from pywg.runtime.confine import bpf, calls

_CLONE_NEWNS = 0x20000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH = 2
_INERT = _NOSUID | _NODEV | _NOEXEC
"""Nothing there is a device, or can be executed."""

_ALWAYS_THERE = "/dev"
"""A folder on which a file system can be mounted."""


def enter_folder(folder: str) -> None:
    """Makes `folder` the root directory. Raises OSError, and the root is as it was."""
    os.chdir(folder)  # first: after chroot(2) nothing may fail any more
    try:
        os.chroot(".")
    except OSError:
        os.chdir("/")
        raise


def enter_empty(writable: str | None, readable: Sequence[str]) -> bool:
    """Makes an empty root in which these folders have the paths that they have now, without what is mounted below them.

    Files can be made and removed in `writable` alone. False where this machine has no table of system calls. Raises
    OSError, and the root is as it was. For a process of one thread.
    """
    folders = dict.fromkeys(readable, _INERT | _RDONLY) | ({writable: _INERT} if writable else {})
    on = writable or _ALWAYS_THERE
    if "/" in folders:
        raise OSError(errno.EBUSY, "a folder that is needed is the root directory")
    this = bpf.machine()
    if this is None:
        return False
    pivot = calls.numbers(this.calls)["pivot_root"]
    before = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(_CLONE_NEWNS)
        try:
            mount("", "/", "", _RECURSIVE | _PRIVATE)  # what is mounted here is no other namespace's affair
            _assemble(folders, on=on)
            syscall(pivot, b".", b".")
            unmount(".", _DETACH)  # the old root, which lies on the new one
        except BaseException:
            with contextlib.suppress(OSError):
                unmount(on, _DETACH)
            with contextlib.suppress(OSError):
                set_namespace(before, _CLONE_NEWNS)
            raise
        finally:
            os.chdir("/")
    finally:
        os.close(before)
    return True


def _assemble(folders: dict[str, int], *, on: str) -> None:
    """Mounts a file system on folder `on` that has the folders with these flags, and makes it the working directory."""
    with contextlib.ExitStack() as stack:
        stack.callback(os.umask, os.umask(0o022))
        sources = {path: stack.enter_context(_held(path)) for path in sorted(folders, key=len)}
        mount("pywg", on, "tmpfs", _INERT, "mode=755,size=64k")
        os.chdir(on)
        for path, source in sources.items():
            os.makedirs(f".{path}", exist_ok=True)
            mount(f"/proc/self/fd/{source}", f".{path}", "", _BIND)
            kept = os.statvfs(f".{path}").f_flag & (_RDONLY | _INERT)
            mount("", f".{path}", "", _REMOUNT | _BIND | folders[path] | kept)
        mount("", ".", "", _REMOUNT | _BIND | _INERT | _RDONLY)


@contextlib.contextmanager
def _held(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
