"""`pywg reload`: then all is as if `pywg up` had had the new file, and no session of a peer that stays is lost."""

import re
import subprocess
from pathlib import Path

import pytest

from bench.tunnel.lab import Lab
from bench.tunnel.site import LISTEN_PORT
from pywg.errors import DeviceError, WgQuickError
from pywg.manage.tunnel import reload as reloads
from pywg.manage.tunnel import state as states
from pywg.manage.tunnel import up as ups
from pywg.manage.tunnel.names import Target
from pywg.manage.tunnel.transaction import StepError

from . import dropin, pings
from .conftest import OpenLab
from .machine import Machine
from .quick_files import BOTH, DUAL, FILES, HEAD, KEY, NEAR, NEAR6, ONE, PSK, THREE, TWO, peer
from .test_up_whole import FailsAt, _interrupt, _refuse

OLD = (
    f"{HEAD}{DUAL}\nMTU = 1400\nDNS = 10.78.0.53\n"
    + peer(ONE, "10.9.0.0/16, 10.8.0.0/16, 0.0.0.0/0", f"{NEAR}PresharedKey = {PSK}\nPersistentKeepalive = 25\n")
    + peer(TWO, "10.7.0.0/16", NEAR6)
)
NEW = (
    f"[Interface]\nPrivateKey = {KEY}\nListenPort = 41195\nAddress = 10.78.0.3/24, fd00:78::3/64\nMTU = 1380\n"
    "DNS = 10.78.0.54, example.org\nFwMark = 77\n"
    + peer(ONE, "10.9.0.0/16, ::/0", "Endpoint = 10.77.0.9:51820\nPersistentKeepalive = 15\n")
    + peer(THREE, "10.8.0.0/16, 10.7.0.0/16")
)
DIFFERENCE = f"""\
- listen-port 41194
+ listen-port 41195
- fwmark 51820
+ fwmark 77
- peer {TWO}
- peer {ONE} preshared-key (hidden)
- peer {ONE} endpoint 10.77.0.2:51820
+ peer {ONE} endpoint 10.77.0.9:51820
- peer {ONE} persistent-keepalive 25
+ peer {ONE} persistent-keepalive 15
- peer {ONE} allowed-ips 10.8.0.0/16
- peer {ONE} allowed-ips 0.0.0.0/0
+ peer {ONE} allowed-ips ::/0
+ peer {THREE} allowed-ips 10.8.0.0/16,10.7.0.0/16
+ address 10.78.0.3/24
+ address fd00:78::3/64
- address 10.78.0.1/24
- address fd00:78::1/64
- MTU 1400
+ MTU 1380
+ route ::/0 table 77
+ rule -6 table main suppress_prefixlength 0
+ rule -6 not fwmark 77 table 77
+ nft rules for fd00:78::3, OWN
- nft rules for 10.78.0.1
- rule -4 not fwmark 51820 table 51820
- rule -4 table main suppress_prefixlength 0
- route 0.0.0.0/0 table 51820
- net.ipv4.conf.all.src_valid_mark=1
- DNS 10.78.0.53
+ DNS 10.78.0.54 example.org
"""


def test_the_difference_is_shown_done_and_undone(here: Machine) -> None:
    """At each step that may fail, or before which a signal may come."""
    here.write(OLD)
    start = here.shown()
    here.up()
    state = Path(states.DIRECTORY, f"{here.interface}.json")
    before, kept = here.shown(), state.read_text()
    here.write(NEW)
    with here.namespace.entered():
        lines = reloads.dry_run(here.target)
    text = "\n".join(lines) + "\n"
    assert re.sub(r"fe80::\S+", "OWN", text) == DIFFERENCE
    assert (here.shown(), state.read_text()) == (before, kept), "a dry run does nothing"
    assert KEY not in text
    assert PSK not in text
    with pytest.MonkeyPatch.context() as monkeypatch:
        steps = FailsAt(monkeypatch, 100, _refuse).names
        here.reload()
    assert len(steps) > 15
    assert here.shown() != before
    here.write(OLD)
    here.reload()
    kept = state.read_text()
    assert sorted(here.shown().splitlines()) == sorted(before.splitlines())
    here.write(NEW)
    for stop, error in ((_refuse, StepError), (_interrupt, KeyboardInterrupt)):
        for number in range(len(steps)):
            with pytest.MonkeyPatch.context() as monkeypatch:
                FailsAt(monkeypatch, number, stop)
                with pytest.raises(error, match=f"{here.interface} is as it was"):
                    here.reload()
            assert sorted(here.shown().splitlines()) == sorted(before.splitlines()), steps[number]
            assert state.read_text() == kept
    here.down()
    assert here.shown() == start
    here.nothing_runs()


def test_what_wg_quick_has_set_up(here: Machine) -> None:
    here.write(OLD)
    before = here.shown()
    here.quick("up")
    here.write(OLD.replace("10.8.0.0/16, ", "10.5.0.0/16, ").replace("10.78.0.1/24", "10.78.0.6/24"))
    with here.namespace.entered():
        lines = reloads.dry_run(here.target)
    assert [line for line in lines if "DNS" not in line] == [
        f"- peer {ONE} allowed-ips 10.8.0.0/16",
        f"+ peer {ONE} allowed-ips 10.5.0.0/16",
        "+ address 10.78.0.6/24",
        "- address 10.78.0.1/24",
        "+ route 10.5.0.0/16",
        "- nft rules for 10.78.0.1",
        "+ nft rules for 10.78.0.6",
        "- route 10.8.0.0/16",
    ]
    here.quick("down")
    here.namespace.run("sysctl", "-q", "net.ipv4.conf.all.src_valid_mark=0")
    assert here.shown() == before


def test_what_others_have_added_stays(here: Machine) -> None:
    """Addresses, routes and keys of a hook are not the file's to remove."""
    hooks = (
        "PostUp = ip address add 10.60.0.1/24 dev %i; ip route add 10.61.0.0/16 dev %i; "
        f"echo {PSK} | wg set %i peer {ONE} preshared-key /dev/stdin\n"
    )
    here.write(f"{HEAD}{DUAL}\n{hooks}" + peer(ONE, "10.9.0.0/16", NEAR))
    here.up()
    here.namespace.run("ip", "address", "del", "10.78.0.1/24", "dev", here.interface)
    here.write(f"{HEAD}{DUAL}\n{hooks}" + peer(ONE, "10.8.0.0/16", NEAR))
    assert here.reload()[:-1] == [
        f"- peer {ONE} allowed-ips 10.9.0.0/16",
        f"+ peer {ONE} allowed-ips 10.8.0.0/16",
        "+ address 10.78.0.1/24",
        "+ route 10.8.0.0/16",
        "- route 10.9.0.0/16",
    ]
    shown = here.shown()
    assert "10.60.0.1/24" in shown
    assert "10.61.0.0/16" in shown
    assert PSK in shown
    here.down()


def test_hooks_are_told_not_run(here: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    here.write(f"{HEAD}{DUAL}\nPostUp = echo up >> LOG\n")
    here.up()
    here.write(f"{HEAD}{DUAL}\nPostUp = echo other >> LOG\n")
    here.reload()
    assert here.logged() == ["up"]
    assert f"PostUp differs from what it was when {here.interface} came up: hooks run with" in capfd.readouterr().err
    here.down()


@pytest.mark.usefixtures("quick_daemon")
def test_what_is_not_up_or_can_not_be_read(here: Machine) -> None:
    here.write(FILES["dual stack"])
    with pytest.raises(DeviceError, match=f"is not up: `pywg up {here.interface}`"):
        here.reload()
    here.up()
    shown = here.shown()
    here.write("[Interface]\nAddress = 10.0.0.1/33\n")
    with pytest.raises(WgQuickError, match=":2:"):
        here.reload()
    assert here.shown() == shown
    here.down()


def _far_knows_near(lab: Lab) -> None:
    lab.far.configure(1420)
    lab.far.add_peer(lab.near)
    lab.far.wg("set", lab.far.interface, "peer", lab.near.keys.public, "allowed-ips", "10.78.0.0/16")


def test_a_session_goes_on(open_lab: OpenLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a reload that changes all but the peer itself, while it is pinged twenty times a second."""
    monkeypatch.setattr(states, "DIRECTORY", str(tmp_path / "state"))
    monkeypatch.delenv("LOG_LEVEL", raising=False)
    lab = open_lab(None, "pywg", connect=False)
    _far_knows_near(lab)
    near, (other,) = lab.near, dropin.public_keys(1)
    tmp_path.chmod(0o700)
    target = Target(near.interface, str(tmp_path / f"{near.interface}.conf"))
    text = (
        f"[Interface]\nPrivateKey = {near.keys.private}\nListenPort = {LISTEN_PORT}\nAddress = 10.78.0.1/24\n"
        + peer(lab.far.keys.public, "10.78.0.2/32", f"Endpoint = 10.77.0.2:{LISTEN_PORT}\n")
    )
    Path(target.path).write_text(text)
    with near.namespace.entered():
        ups.up(target)
    dropin.resumes(near, "10.78.0.2")
    session = near.wg("show", near.interface, "latest-handshakes")
    with (tmp_path / "ping").open("wb") as told:
        arguments = ("ping", "-n", "-i", "0.05", "-c", "40", "-w", "30", "10.78.0.2")
        ping = near.namespace.start(arguments, stdout=told, stderr=subprocess.DEVNULL)
    more = text.replace("10.78.0.1/24", "10.78.0.1/24, 10.78.5.1/24").replace(
        "10.78.0.2/32", "10.78.0.2/32, 10.66.0.0/16"
    )
    Path(target.path).write_text(f"{more}PersistentKeepalive = 25\n{peer(other, BOTH)}")
    with near.namespace.entered():
        changed = reloads.reload(target)
    assert "+ address 10.78.5.1/24" in changed
    assert f"+ peer {other} allowed-ips 0.0.0.0/0,::/0" in changed
    assert ping.wait() == 0
    assert pings.told((tmp_path / "ping").read_text()) == (40, 0)
    assert near.wg("show", near.interface, "latest-handshakes").splitlines()[0] == session.splitlines()[0]

    endpoint = f"10.77.0.2:{LISTEN_PORT}"
    Path(target.path).write_text(text.replace(f"Endpoint = {endpoint}\n", ""))
    with near.namespace.entered():
        changed = reloads.reload(target)
    assert f"- peer {lab.far.keys.public} endpoint {endpoint}" in changed
    assert near.wg("show", near.interface, "endpoints").split() == [lab.far.keys.public, "(none)"]
    dropin.resumes(lab.far, "10.78.0.1")  # its session stands, and tells where it is
    assert near.wg("show", near.interface, "endpoints").split()[1] == endpoint
    assert near.wg("show", near.interface, "latest-handshakes").splitlines()[0] == session.splitlines()[0]
    near.namespace.run("ip", "link", "del", near.interface)


def test_an_endpoint_that_has_moved_stays(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the peer has told since is newer than the file, unless the file says something else than before."""
    here.write(f"{HEAD}{DUAL}\n" + peer(ONE, "10.9.0.0/16", NEAR))
    here.up()
    here.namespace.run("wg", "set", here.interface, "peer", ONE, "endpoint", "10.77.0.7:7")
    here.reload()
    assert "10.77.0.7:7" in here.shown()
    here.write(f"{HEAD}{DUAL}\n" + peer(ONE, "10.9.0.0/16", "Endpoint = 10.77.0.8:8\n"))
    here.reload()
    assert "10.77.0.8:8" in here.shown()
    here.namespace.run("wg", "set", here.interface, "peer", ONE, "endpoint", "10.77.0.9:9")
    here.write(f"{HEAD}{DUAL}\n" + peer(ONE, "10.9.0.0/16"))
    assert here.reload()[:-1] == []
    assert "10.77.0.9:9" in here.shown(), "an endpoint that the file has no more is one that it had"
    here.down()
