"""`pywg save` beside `wg-quick save`: the same is saved of what runs, and what an operator wrote stays in the file."""

import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from pywg.config import quick_edit
from pywg.config.wg_quick import WgQuickConfig, parse
from pywg.errors import ConfigError, DeviceError
from pywg.manage.tunnel import save
from tests.requirements import require_tool

from . import dropin
from .machine import Machine, machine

KEY = "WGRnL2KjPBPA+XSdPo9tZ5XWDUdxsEH7sEIOO1jU+Gw="
A, B, C = dropin.public_keys(3)
FILE = f"""\
# set up by hand
[Interface]
PrivateKey = {KEY} # made in spring
Address = 10.78.0.1/24, fd00:78::1/64
ListenPort = 51977
MTU = 1380
PostUp = true # nothing yet
PreDown = true

# Berlin
[Peer]
PublicKey = {A}
AllowedIPs = 10.78.0.2/32
Endpoint = localhost:7 # by its name
PersistentKeepalive = 25

# Paris, which goes
[Peer]
PublicKey = {B}
AllowedIPs = 10.78.0.3/32
Endpoint = 10.77.0.9:7
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    for tool in ("wg-quick", "wg"):
        require_tool(tool)
    with machine(f"pywg-{os.getpid()}-{secrets.token_hex(3)}", tmp_path, monkeypatch) as made:
        yield made
        made.clear()


def saved(here: Machine) -> list[str]:
    with here.namespace.entered():
        return save.save(here.target)


def comparable(config: WgQuickConfig) -> WgQuickConfig:
    """Without names, host names and order, which wg-quick loses, and the addresses that an interface gives itself."""
    config.peers.sort(key=lambda peer: peer.public_key)
    for peer in config.peers:
        peer.name = ""
        peer.allowed_ips.sort()
        peer.persistent_keepalive = peer.persistent_keepalive or None
        if peer.endpoint and peer.endpoint[0] == "localhost":
            peer.endpoint = "127.0.0.1", peer.endpoint[1]
    config.interface.name = ""
    config.interface.addresses = [one for one in config.interface.addresses if not one[0].startswith(b"\xfe\x80")]
    return config


def test_beside_wg_quick(here: Machine) -> None:
    here.write(FILE)
    here.up()
    name = here.interface
    wg = ("wg", "set", name)
    here.namespace.run(*wg, "listen-port", "51978", "peer", B, "remove")
    here.namespace.run(*wg, "peer", C, "allowed-ips", "10.78.9.0/24,fd00:9::/64", "endpoint", "[::1]:9")
    here.namespace.run(*wg, "peer", A, "persistent-keepalive", "off", "allowed-ips", "10.78.0.2/32,10.1.0.0/16")
    here.namespace.run("ip", "address", "add", "10.78.1.1/24", "dev", name)
    here.namespace.run("ip", "link", "set", name, "mtu", "1300")
    before = here.path.read_text()
    here.path.chmod(0o640)
    assert saved(here) == ["Berlin keeps the host name of its endpoint"]
    ours = here.path.read_text()
    assert here.path.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in here.folder.iterdir() if path.name.startswith(f".{name}")] == []
    for kept in (
        "# set up by hand",
        f"{KEY} # made in spring",
        "PostUp = true # nothing yet",
        "# Berlin",
        "# by its name",
    ):
        assert kept in ours
    assert B not in ours
    assert "Paris" not in ours
    here.path.write_text(before)
    here.namespace.run("wg-quick", "save", str(here.path))
    theirs = here.path.read_text()
    assert "#" not in theirs
    assert comparable(parse(ours, "ours")) == comparable(parse(theirs, "theirs"))
    here.path.write_text(ours)
    here.down()
    here.up()  # what was saved can be set up
    assert here.namespace.run("wg", "show", name, "listen-port") == "51978\n"
    assert saved(here) == ["Berlin keeps the host name of its endpoint"]
    assert here.path.read_text() == ours, "nothing has changed"


def test_keys_that_a_hook_sets_stay_out_of_the_file(here: Machine) -> None:
    secret = here.folder / "key"
    secret.write_text(KEY)
    text = FILE.replace(f"PrivateKey = {KEY} # made in spring\n", "")
    text = text.replace(
        "PostUp = true # nothing yet", f"PostUp = wg set %i private-key {secret} peer {A} preshared-key {secret}"
    )
    here.write(text)
    here.up()
    assert here.namespace.run("wg", "show", here.interface, "private-key").strip() == KEY
    saved(here)
    assert KEY not in here.path.read_text()
    assert here.path.read_text() == text


def test_what_would_be_lost_is_not_saved(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    here.write(FILE)
    with pytest.raises(DeviceError, match=r"no daemon answers|there is no"):
        saved(here)
    here.up()
    here.namespace.run("wg", "set", here.interface, "private-key", "/dev/null")
    with pytest.raises(ConfigError, match="would lose"):
        saved(here)
    secret = here.folder / "key"
    secret.write_text(KEY)
    here.namespace.run("wg", "set", here.interface, "private-key", str(secret), "peer", B, "remove")
    here.path.write_text(FILE + "Nonsense = 1\n")
    with pytest.raises(ConfigError, match="unknown name"):
        saved(here)
    here.path.write_text(FILE)

    def meanwhile(text: str, config: WgQuickConfig) -> str:
        here.path.write_text(FILE + "# edited\n")
        return quick_edit.edited(text, config)

    with monkeypatch.context() as edits:
        edits.setattr(save, "edited", meanwhile)
        with pytest.raises(DeviceError, match="edited meanwhile"):
            saved(here)
    assert here.path.read_text() == FILE + "# edited\n"
    here.path.write_text(FILE)
    saved(here)
    assert B not in here.path.read_text(), "the control: it can be saved"


def full_disk(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_save_config(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pywg down` saves the same way. What can't be saved stays up, or it would be lost."""
    text = FILE.replace("PreDown", "SaveConfig = true\nPreDown")
    here.write(text)
    here.up()
    here.namespace.run("wg", "set", here.interface, "peer", B, "remove")
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", full_disk)
        with pytest.raises(DeviceError, match=f"No space left on device; {here.interface} is still up"):
            here.down()
    assert here.path.read_text() == text
    assert here.namespace.run("wg", "show", here.interface, "peers").split() == [A]
    here.down()
    assert here.path.read_text() == text.partition("\n# Paris")[0]
