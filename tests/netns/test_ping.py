"""`pywg ping` through real tunnels: answers, losses, users, Ctrl-C, and the MTU that fits."""

import json
import re
import signal
import subprocess

from bench.tunnel.lab import Lab
from bench.tunnel.site import LINK, Site

from . import dropin
from .conftest import OpenLab
from .dropin import nft


def ping(pywg: str, site: Site, *argv: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = ["ip", "netns", "exec", site.namespace.name, *prefix, pywg, "ping", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def connected(pywg: str, open_lab: OpenLab, **options: int) -> Lab:
    lab = open_lab(pywg, pywg, **options)
    lab.establish()
    return lab


def test_round_trips(pywg: str, open_lab: OpenLab) -> None:
    lab = connected(pywg, open_lab)
    near, far = lab.near, lab.far
    for who, address in (
        (near.interface, far.inner(4)),
        (far.keys.public[:8], far.inner(4)),
        (far.inner(6), far.inner(6)),
    ):
        done = ping(pywg, near, who, "-c", "3", "-i", "0.05", "--json")
        found = json.loads(done.stdout)
        assert (done.returncode, done.stderr) == (0, "")
        assert (found["sent"], found["received"], found["loss"], found["address"]) == (3, 3, 0, address)
        assert 0 < found["milliseconds"]["min"] <= found["milliseconds"]["p50"] <= found["milliseconds"]["max"]
        assert found["handshake_age_seconds"] >= 0
    text = ping(pywg, near, far.inner(4), "-c", "2", "-i", "0.05", "-s", "1000").stdout
    assert "2 sent, 2 answered, 0 % lost" in text
    near.namespace.run("sysctl", "-w", "net.ipv4.ping_group_range=0 2147483647")
    user = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    refused = ping(pywg, near, far.inner(4), "-c", "1", prefix=user)
    assert (refused.returncode, "Permission denied" in refused.stderr) == (1, True)

    endless = subprocess.Popen(
        ["ip", "netns", "exec", near.namespace.name, pywg, "ping", far.inner(4), "-c", "0", "-i", "0.05"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert endless.stdout is not None
    while "  2  " not in (line := endless.stdout.readline()):
        assert line
    endless.send_signal(signal.SIGINT)
    rest = endless.communicate(timeout=20)[0]
    assert endless.returncode == 0
    (answered,) = re.findall(r"\d+ sent, (\d+) answered, ", rest)
    assert int(answered) >= 2  # and what was under way is none of them
    assert "Traceback" not in rest


def test_no_answer(pywg: str, open_lab: OpenLab) -> None:
    lab = connected(pywg, open_lab)
    nft(
        lab.far, "table inet f {", "chain i { type filter hook input priority 0; icmp type echo-request drop;", "}", "}"
    )
    done = ping(pywg, lab.near, lab.far.inner(4), "-c", "1", "-i", "0.05", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["received"], found["loss"], found["milliseconds"]) == (1, 0, 1, None)
    unknown = ping(pywg, lab.near, "nobody")
    assert (unknown.returncode, "no peer is called 'nobody'" in unknown.stderr) == (1, True)


def _mtu(pywg: str, lab: Lab, who: str) -> dict[str, int]:
    done = ping(pywg, lab.near, who, "--mtu", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_the_mtu_that_fits(pywg: str, open_lab: OpenLab) -> None:
    """All of it; where the way is smaller, in pieces; and where pieces are lost."""
    lab = connected(pywg, open_lab)
    near, far = lab.near, lab.far
    found = _mtu(pywg, lab, far.inner(4))
    assert (found["interface_mtu"], found["largest"], found["mtu"]) == (1420, 1420, 1420)
    assert _mtu(pywg, lab, far.inner(6))["largest"] == 1420
    for site in lab.sites:
        site.ip("link", "set", LINK, "mtu", "1400")
    found = _mtu(pywg, lab, far.inner(4))
    assert (found["largest"], found["mtu"]) == (1420, 1340)
    for site in lab.sites:
        site.ip("link", "set", LINK, "mtu", "1500")
    rule = f"iifname {LINK} udp length > 1300 drop"
    nft(far, "table inet f {", f"chain p {{ type filter hook prerouting priority 0; {rule}", "}", "}")
    # 1300 of UDP: 8 of its header, 32 of WireGuard's, and packets are padded to 16 bytes.
    assert _mtu(pywg, lab, far.inner(4))["largest"] == 1248
    near.wg("set", near.interface, "peer", far.keys.public, "allowed-ips", f"{far.inner(4)}/32")
    assert dropin.answers_one(near, far.inner(4))
