"""Users and groups that options name: what is found, and that what isn't is named."""

import grp
import pwd

import pytest

from pywg.errors import ConfigError
from pywg.runtime.base.accounts import Account, Owner, read_account, read_group, read_owner

NOBODY = pwd.getpwnam("nobody")
GROUP = grp.getgrgid(NOBODY.pw_gid)
FREE = next(number for number in range(400_000, 500_000) if number not in {entry.pw_uid for entry in pwd.getpwall()})


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("nobody", (NOBODY.pw_uid, NOBODY.pw_gid)),
        (str(NOBODY.pw_uid), (NOBODY.pw_uid, NOBODY.pw_gid)),
        ("nobody:7", (NOBODY.pw_uid, 7)),
        (f"{FREE}:{GROUP.gr_name}", (FREE, GROUP.gr_gid)),
    ],
)
def test_accounts(text: str, ids: tuple[int, int]) -> None:
    assert read_account("--user", text) == Account(*ids, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nosuch", "there is no user 'nosuch'"),
        ("nobody:nosuch", "there is no group 'nosuch'"),
        ("nobody:", "there is no group ''"),
        (":adm", "there is no user ''"),
        ("", "there is no user ''"),
        (str(FREE), f"a group is needed: {FREE}:GROUP"),
        (str((1 << 32) - 1), "there is no user"),
        (f"nobody:{(1 << 32) - 1}", "there is no group"),
        ("9" * 400, "there is no user"),
        ("\N{ARABIC-INDIC DIGIT THREE}", "there is no user"),
        ("no\0body", "there is no user"),
        ("-1", "there is no user"),
        ("root", "is root"),
        ("0:7", "is root"),
    ],
)
def test_what_is_no_account_is_named(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=r"^--user=") as caught:
        read_account("--user", text)
    assert says in str(caught.value)


def test_owners() -> None:
    assert read_owner("--socket-owner", "nobody") == Owner(uid=NOBODY.pw_uid)
    assert read_owner("--socket-owner", ":7") == Owner(gid=7)
    assert read_owner("--socket-owner", "0:7") == Owner(0, 7)
    assert read_group("--monitor-socket", GROUP.gr_name) == Owner(gid=GROUP.gr_gid)


@pytest.mark.parametrize("text", ["", ":", "nosuch", ":nosuch", "nobody:", "a:b:c"])
def test_what_is_no_owner_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--socket-owner="):
        read_owner("--socket-owner", text)
    with pytest.raises(ConfigError, match=r"^--monitor-socket="):
        read_group("--monitor-socket", text)
