"""Unmodified wg-quick, and wg's ways to change a running interface, with a wg0.conf that has everything in it."""

import os
import re
from pathlib import Path

import pytest

from bench.tunnel.command import CommandError
from bench.tunnel.lab import Lab
from bench.tunnel.site import LISTEN_PORT, UAPI_DIR, Keys, Site, poll
from tests.requirements import require_tool

from . import dropin
from .conftest import OpenLab

pytest_generate_tests = dropin.parametrize_subject

BEYOND4, BEYOND6 = "192.0.2.1", "2001:db8::1"
RESOLVCONF = """#!/bin/sh
[ "$1" = -l ] && exec cat {dns}
echo "$*" >> {log}
[ "$1" = -a ] && cat > {dns}
exit 0
"""


class Quick:
    """The near site of a lab, brought up by wg-quick from a file of its own; the far site runs the same daemon."""

    def __init__(self, lab: Lab, subject: str, directory: Path) -> None:
        self.lab = lab
        self.site: Site = lab.near
        self.subject = subject
        self.log = directory / "log"
        self.dns = directory / "dns"
        self.path = directory / f"{self.site.interface}.conf"
        self._bin = directory / "bin"
        self._bin.mkdir()
        resolvconf = self._bin / "resolvconf"
        resolvconf.write_text(RESOLVCONF.format(dns=self.dns, log=self.log))
        resolvconf.chmod(0o755)
        directory.chmod(0o700)

    def write(self, interface: str, peer: str) -> None:
        """The file: the site's key and these other lines, and the far site as a peer, with these other lines."""
        self.path.write_text(
            f"[Interface]\nPrivateKey = {self.site.keys.private}\n{interface}\n"
            f"[Peer]\nPublicKey = {self.lab.far.keys.public}\n{peer}\n"
        )
        self.path.chmod(0o600)

    def run(self, *argv: str) -> str:
        """wg-quick or bash in the near namespace, with the subject as the implementation."""
        path = f"PATH={self._bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        implementation = f"WG_QUICK_USERSPACE_IMPLEMENTATION={dropin.program(self.subject)}"
        return self.site.namespace.run("env", path, implementation, *argv)

    def up(self) -> None:
        """wg-quick up."""
        self.run("wg-quick", "up", str(self.path))

    def down(self) -> None:
        """wg-quick down, and makes sure that nothing is left of the daemon."""
        self.run("wg-quick", "down", str(self.path))
        poll(lambda: not self.site.uapi_socket.exists(), "the socket is gone")
        poll(lambda: self.site.namespace.pids() == [], "the daemon has ended")
        assert self.site.interface not in self.site.ip("-o", "link")

    def logged(self) -> list[str]:
        """What the hooks and resolvconf wrote."""
        return self.log.read_text().splitlines()


@pytest.fixture
def quick(subject: str, open_lab: OpenLab, tmp_path: Path) -> Quick:
    require_tool("wg-quick")
    require_tool("nft")
    lab = open_lab(None, subject, psk=True, connect=False)
    far = lab.far
    far.configure(1420)
    far.add_peer(lab.near, preshared_key=lab.preshared_key)
    far.wg("set", far.interface, "peer", lab.near.keys.public, "allowed-ips", "10.78.0.1/32,fd00:78::1/128")
    for address in (f"{BEYOND4}/32", f"{BEYOND6}/128"):
        far.ip("address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
    return Quick(lab, subject, tmp_path)


def _everything(quick: Quick) -> None:
    log = quick.log
    quick.write(
        "Address = 10.78.0.1/24, fd00:78::1/64\n"
        f"ListenPort = {LISTEN_PORT}\n"
        "DNS = 10.78.0.53, fd00:78::53, example.org  # a comment\n"
        "MTU = 1380\nTable = auto\nFwMark = 0xca6c\nSaveConfig = true\n"
        f"PreUp = echo pre-up %i >> {log}\nPostUp = echo post-up %i >> {log}\nPostUp = wg show %i fwmark >> {log}\n"
        f"PreDown = echo pre-down %i >> {log}\nPostDown = echo post-down %i >> {log}\n",
        f"PresharedKey = {quick.lab.preshared_key}\nAllowedIPs = 0.0.0.0/0, ::/0\n"
        f"Endpoint = 10.77.0.2:{LISTEN_PORT}\nPersistentKeepalive = 25\n",
    )


@pytest.mark.dropin("4", "12", "14", "wg-quick", "rule-based routing")
def test_up_and_down_with_everything(quick: Quick) -> None:
    site, name = quick.site, quick.site.interface
    _everything(quick)
    rules = [site.ip(family, "rule") for family in ("-4", "-6")]
    quick.up()
    assert "mtu 1380" in site.ip("link", "show", name)
    assert "table 51820" in site.ip("route", "get", BEYOND4) or name in site.ip("route", "get", BEYOND4)
    assert name in site.ip("route", "get", BEYOND6)
    assert name not in site.ip("route", "get", quick.lab.far.outer(4)), "suppress_prefixlength keeps the local routes"
    for address in (BEYOND4, BEYOND6, quick.lab.far.inner(4), quick.lab.far.inner(6)):
        dropin.resumes(site, address)
    assert quick.dns.read_text() == "nameserver 10.78.0.53\nnameserver fd00:78::53\nsearch example.org\n"
    quick.down()
    assert quick.logged() == [
        f"pre-up {name}",
        f"-a {name} -m 0 -x",
        f"post-up {name}",
        "0xca6c",
        f"pre-down {name}",
        *[f"-d {name} -f"] * (len(quick.logged()) - 6),
        f"post-down {name}",
    ]
    assert [site.ip(family, "rule") for family in ("-4", "-6")] == rules
    assert name not in site.namespace.run("nft", "list", "tables")


@pytest.mark.dropin("wg-quick")
def test_save_and_up_again_from_what_was_saved(quick: Quick) -> None:
    site, (other,) = quick.site, dropin.public_keys(1)
    _everything(quick)
    quick.up()
    site.wg("set", site.interface, "peer", other, "allowed-ips", "10.99.0.0/16,fd00:99::/32", "endpoint", "[::1]:7")
    quick.run("wg-quick", "save", str(quick.path))
    for expected in (
        f"PublicKey = {other}",
        "fd00:99::/32",
        "Endpoint = [::1]:7",
        "FwMark = 0xca6c",
        "SaveConfig = true",
    ):
        assert expected in quick.path.read_text()
    site.wg("set", site.interface, "peer", other, "remove")
    quick.down()  # SaveConfig saves again
    assert other not in quick.path.read_text()
    quick.up()
    dropin.resumes(site, BEYOND4)
    shown = site.wg("showconf", site.interface)
    assert re.search("PersistentKeepalive = 25", shown)
    assert f"PresharedKey = {quick.lab.preshared_key}" in shown
    quick.down()


@pytest.mark.dropin("wg-quick")
def test_another_table_and_no_fwmark(quick: Quick) -> None:
    quick.write(
        f"Address = 10.78.0.1/24\nListenPort = {LISTEN_PORT}\nTable = 1234\n",
        f"PresharedKey = {quick.lab.preshared_key}\nAllowedIPs = 0.0.0.0/0\nEndpoint = 10.77.0.2:{LISTEN_PORT}\n",
    )
    quick.up()
    assert quick.site.interface in quick.site.ip("route", "show", "table", "1234")
    assert "mtu 1420" in quick.site.ip("link", "show", quick.site.interface), "1500 less 80, from the endpoint's route"
    dropin.resumes(quick.site, quick.lab.far.inner(4))
    quick.down()


@pytest.mark.dropin("wg-quick")
def test_default_route_without_a_fwmark_gets_one(quick: Quick) -> None:
    quick.write(
        f"Address = 10.78.0.1/24, fd00:78::1/64\nListenPort = {LISTEN_PORT}\n",
        f"PresharedKey = {quick.lab.preshared_key}\nAllowedIPs = 0.0.0.0/0, ::/0\n"
        f"Endpoint = [fd00:77::2]:{LISTEN_PORT}\n",
    )
    quick.up()
    assert quick.site.wg("show", quick.site.interface, "fwmark").strip() == "0xca6c"
    dropin.resumes(quick.site, BEYOND4)
    dropin.resumes(quick.site, BEYOND6)
    quick.down()


@pytest.mark.dropin("wg-quick", "wg syncconf, addconf, setconf", "14")
def test_strip_syncconf_addconf_setconf(quick: Quick) -> None:
    site, (gone, other) = quick.site, dropin.public_keys(2)
    _everything(quick)
    quick.up()
    dropin.resumes(site, BEYOND4)
    session = site.wg("show", site.interface, "latest-handshakes").split()
    site.wg("set", site.interface, "peer", gone, "allowed-ips", "10.98.0.0/16")
    stripped = quick.run("wg-quick", "strip", str(quick.path))
    assert "Address" not in stripped
    assert "PrivateKey" in stripped
    quick.run("bash", "-c", f"wg syncconf {site.interface} <(wg-quick strip {quick.path})")
    assert site.wg("show", site.interface, "latest-handshakes").split() == session, "gone is gone, and no session lost"
    added = quick.path.with_name("added.conf")
    added.write_text(f"[Peer]\nPublicKey = {other}\nAllowedIPs = 10.97.0.0/16\n")
    site.wg("addconf", site.interface, str(added))
    assert set(site.wg("show", site.interface, "peers").split()) == {quick.lab.far.keys.public, other}
    assert dropin.answers_one(site, BEYOND4)
    added.write_text(f"[Interface]\nPrivateKey = {site.keys.private}\n[Peer]\nPublicKey = {other}\n")
    site.wg("setconf", site.interface, str(added))
    assert site.wg("show", site.interface, "peers").split() == [other]
    quick.down()


@pytest.mark.dropin("4", "6")
def test_background_start_that_fails_says_so(subject: str, open_lab: OpenLab) -> None:
    """What wg-quick and init scripts rely on: the exit status of the command that goes to the background."""
    site = open_lab(subject, subject, connect=False).near
    with pytest.raises(CommandError, match=site.interface):
        site.namespace.run(dropin.program(subject), site.interface)
    assert site.wg("show", site.interface, "peers") == "", "the live one is untouched"


@pytest.mark.dropin("4")
def test_background_start_serves_when_the_parent_has_ended(subject: str, open_lab: OpenLab) -> None:
    site = open_lab(None, None).near
    site.namespace.run(dropin.program(subject), site.interface)
    assert site.wg("show", site.interface, "peers") == ""
    others = 0o070 if ":" in os.environ.get("PYWG_SOCKET_OWNER", "") else 0
    assert (UAPI_DIR.stat().st_mode & 0o777, site.uapi_socket.stat().st_mode & 0o077) == (0o755, others)
    (pid,) = dropin.daemon_pids(site.namespace)
    assert os.path.samefile(f"/proc/{pid}/fd/0", "/dev/null")  # whatever path it has in the daemon's root


@pytest.mark.dropin("10", "14", "wg set")
def test_every_option_of_wg_set(subject: str, open_lab: OpenLab) -> None:
    lab = open_lab(subject, subject, connect=False)
    site, name, other = lab.near, lab.near.interface, Keys.generate()
    key, psk = site.secret_file("key", other.private), site.secret_file("psk", other.private)
    peer = lab.far.keys.public
    site.wg("set", name, "private-key", key, "listen-port", "1234", "fwmark", "0x10")
    site.wg("set", name, "peer", peer, "preshared-key", psk, "endpoint", "[fd00::9]:9", "persistent-keepalive", "7")
    site.wg("set", name, "peer", peer, "allowed-ips", "10.1.2.3/8,::/0,fd00::1")
    dump = [line.split("\t") for line in site.wg("show", name, "dump").splitlines()]
    assert dump[0] == [other.private, other.public, "1234", "0x10"]
    assert dump[1][:3] == [peer, other.private, "[fd00::9]:9"]
    assert set(dump[1][3].split(",")) == {"10.0.0.0/8", "::/0", "fd00::1/128"}
    assert dump[1][7] == "7"
    site.wg("set", name, "fwmark", "off", "peer", peer, "persistent-keepalive", "off", "preshared-key", "/dev/null")
    dump = [line.split("\t") for line in site.wg("show", name, "dump").splitlines()]
    assert dump[0][3] == "off"
    assert (dump[1][1], dump[1][7]) == ("(none)", "off")
    site.wg("set", name, "private-key", "/dev/null", "peer", peer, "remove")
    assert site.wg("show", name, "private-key").strip() == "(none)"
    assert site.wg("show", name, "peers") == ""


@pytest.mark.dropin("8")
@pytest.mark.lacks(
    "wireguard-go", "shows a link-local endpoint without its interface, so that what it saves is useless"
)
def test_link_local_endpoint_keeps_its_interface(subject: str, open_lab: OpenLab) -> None:
    lab = open_lab(subject, subject, connect=False)
    lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "endpoint", "[fe80::1%lo]:9")
    assert lab.near.wg("show", lab.near.interface, "endpoints").split()[1] == "[fe80::1%lo]:9"
    assert dropin.peers(lab.near)[0]["endpoint"] == ["[fe80::1%lo]:9"]
    saved = lab.near.wg("showconf", lab.near.interface)
    assert "Endpoint = [fe80::1%lo]:9" in saved
    lab.near.namespace.run("wg", "setconf", lab.near.interface, "/dev/stdin", stdin=saved)
    assert dropin.peers(lab.near)[0]["endpoint"] == ["[fe80::1%lo]:9"]
