"""Users and groups of this system that options name: by name, or by number."""

import contextlib
import grp
import pwd
from typing import NamedTuple

from pywg.errors import ConfigError

_UNCHANGED = -1
_NONE = (1 << 32) - 1
"""The number that the kernel keeps for no user and no group."""


class Account(NamedTuple):
    """A user, and the one group, that a daemon is to run as."""

    uid: int
    gid: int
    name: str
    """as it was given"""


class Owner(NamedTuple):
    """The user and group that a socket is to belong to; -1 leaves the one that it has."""

    uid: int = _UNCHANGED
    gid: int = _UNCHANGED


def read_account(option: str, text: str) -> Account:
    """`USER[:GROUP]`; without a group, the user's own. Raises ConfigError that begins with `option`."""
    name, colon, group = text.partition(":")
    uid, primary = _user(option, text, name)
    if uid == 0:
        raise ConfigError(f"{option}={text!a} is root: leave the option out, or name a user without privileges")
    if colon:
        return Account(uid, _group(option, text, group), text)
    if primary is None:
        raise ConfigError(f"{option}={text!a}: no user has that number, so a group is needed: {name}:GROUP")
    return Account(uid, primary, text)


def read_owner(option: str, text: str) -> Owner:
    """`USER`, `USER:GROUP` or `:GROUP`. Raises ConfigError that begins with `option`."""
    name, colon, group = text.partition(":")
    if not name and not group:
        raise ConfigError(f"{option}={text!a} names neither a user nor a group")
    uid = _user(option, text, name)[0] if name else _UNCHANGED
    return Owner(uid, _group(option, text, group) if colon else _UNCHANGED)


def read_group(option: str, text: str) -> Owner:
    """`GROUP`, as the owner of a socket. Raises ConfigError that begins with `option`."""
    return Owner(gid=_group(option, text, text))


def _user(option: str, text: str, name: str) -> tuple[int, int | None]:
    """The numbers of a user and of its group; None where only the number is known."""
    with contextlib.suppress(KeyError, ValueError):
        entry = pwd.getpwuid(_number(name)) if name.isdigit() else pwd.getpwnam(name)
        return entry.pw_uid, entry.pw_gid
    with contextlib.suppress(ValueError):
        return _number(name), None
    raise ConfigError(f"{option}={text!a}: there is no user {name!a}")


def _group(option: str, text: str, name: str) -> int:
    with contextlib.suppress(ValueError):
        return _number(name)
    with contextlib.suppress(KeyError, ValueError):
        return grp.getgrnam(name).gr_gid
    raise ConfigError(f"{option}={text!a}: there is no group {name!a}")


def _number(text: str) -> int:
    """Raises ValueError for what is no number of a user or group."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_NONE)) and int(text) < _NONE):
        raise ValueError(text)
    return int(text)
