"""`pywg show` beside the real `wg show`, byte for byte, and `pywg status` of real daemons, as root and as a user."""

import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.tunnel.command import run
from bench.tunnel.implementations import find
from bench.tunnel.lab import Lab
from bench.tunnel.site import Keys, Site, poll
from pywg.manage.wg_show import COLUMNS

from .conftest import OpenLab, nothing_refused

GROUP = "4242"
TRIES = 20
MARK = 0 if os.environ.get("PYWG_DROP_NET_ADMIN") == "1" else 0xCA6C
"""The interface's, where the daemon may set one."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab with both daemons, and not one for each of the --pairs: the commands are looked at here."""
    with Lab("pywg", "wireguard-go", psk=True) as lab:
        lab.establish()
        yield lab
        nothing_refused(lab)


@pytest.fixture(scope="module")
def shown(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The near site, with peers of every kind beside the one that is up."""
    site = lab.near
    psk = tmp_path_factory.mktemp("psk") / "psk"
    psk.write_text(run("wg", "genpsk"))
    extra = [
        ("allowed-ips", "10.9.0.0/16,fd00:9::/32,10.10.0.1/32", "persistent-keepalive", "3661"),
        ("preshared-key", str(psk), "endpoint", "[fd00:77::9]:1"),
        ("endpoint", "[fe80::1%veth]:65535"),
        (),
    ]
    keys = [Keys.generate().public for _ in extra]
    for key, options in zip(keys, extra, strict=True):
        site.wg("set", site.interface, "peer", key, *options)
    if MARK:
        site.wg("set", site.interface, "fwmark", hex(MARK))
    yield site
    if MARK:
        site.wg("set", site.interface, "fwmark", "0")
    for key in keys:
        site.wg("set", site.interface, "peer", key, "remove")


def ended(site: Site, argv: Sequence[str], **variables: str) -> tuple[int, bytes, bytes]:
    """(status, standard output, standard error) of a command in the site's namespace."""
    found = subprocess.run(
        ["ip", "netns", "exec", site.namespace.name, *argv],
        env={**os.environ, **variables},
        capture_output=True,
        check=False,
        timeout=60,
    )
    return found.returncode, found.stdout, found.stderr


def on_terminal(site: Site, argv: Sequence[str], **variables: str) -> bytes:
    """What a command shows on a terminal."""
    near, far = pty.openpty()
    command = ["ip", "netns", "exec", site.namespace.name, *argv]
    with subprocess.Popen(command, stdin=far, stdout=far, stderr=far, env={**os.environ, **variables}) as process:
        os.close(far)
        found = b""
        try:
            while data := os.read(near, 1 << 16):
                found += data
        except OSError:  # EIO: it has ended
            pass
        assert process.wait(60) == 0
    os.close(near)
    return found


def alike(ask: "object", ours: "object") -> None:
    """Whether both say the same; ages and counters move on meanwhile, so each of several tries will do."""
    assert callable(ask)
    assert callable(ours)
    for _ in range(TRIES):
        before, found, after = ask(), ours(), ask()
        if found in (before, after):
            return
    assert found == after


@pytest.mark.parametrize("what", [None, *COLUMNS])
def test_show_is_wgs_byte_for_byte(shown: Site, pywg: str, what: str | None) -> None:
    words = ["show", shown.interface, *([what] if what else [])]
    alike(lambda: ended(shown, ["wg", *words]), lambda: ended(shown, [pywg, *words]))


@pytest.mark.parametrize(
    "variables",
    [
        {"WG_COLOR_MODE": "always"},
        {"WG_COLOR_MODE": "never"},
        {"WG_COLOR_MODE": "sometimes"},
        {"WG_HIDE_KEYS": "never"},
        {"WG_HIDE_KEYS": "always"},
    ],
)
def test_show_obeys_wgs_variables(shown: Site, pywg: str, variables: dict[str, str]) -> None:
    words = ["show", shown.interface]
    alike(lambda: ended(shown, ["wg", *words], **variables), lambda: ended(shown, [pywg, *words], **variables))


@pytest.mark.parametrize("variables", [{}, {"WG_COLOR_MODE": "never"}])
def test_show_on_a_terminal_has_wgs_colors(shown: Site, pywg: str, variables: dict[str, str]) -> None:
    words = ["show", shown.interface]
    alike(
        lambda: on_terminal(shown, ["wg", *words], **variables), lambda: on_terminal(shown, [pywg, *words], **variables)
    )
    found = on_terminal(shown, [pywg, *words], **variables)
    assert (b"\x1b[32m" in found) == (not variables)
    assert b"\x1b" not in on_terminal(shown, [pywg, *words], NO_COLOR="1")


@pytest.mark.parametrize("words", [["nosuch0"], ["nosuch0", "dump"], ["a/b"]])
def test_what_there_is_not_fails_as_with_wg(shown: Site, pywg: str, words: list[str]) -> None:
    theirs, ours = ended(shown, ["wg", "show", *words]), ended(shown, [pywg, "show", *words])
    assert (theirs[0], theirs[1]) == (ours[0], ours[1]) == (1, b"")
    assert ours[2].count(b"\n") == 1
    status, out, err = ended(shown, [pywg, "show", shown.interface, "nonsense"])
    assert (status, out, err.count(b"\n")) == (2, b"", 1)


def in_a_folder_of_ones_own(site: Site, script: str) -> str:
    """A shell's output, where the daemons' sockets are others than the machine's: pywg0 and pywg1 are our own two."""
    start = "mount -t tmpfs none /run/wireguard && cd / && "
    found = subprocess.run(
        ["ip", "netns", "exec", site.namespace.name, "unshare", "--mount", "sh", "-ec", start + script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_several_interfaces_are_in_wgs_order(lab: Lab, pywg: str) -> None:
    """And a user, to whom neither is shown, is told so."""
    script = f"""
    show() {{ echo "$(wg "$@" 2>&1; echo $?)" > /tmp/wg.$$; echo "$({pywg} "$@" 2>&1; echo $?)" > /tmp/pywg.$$
              cmp /tmp/wg.$$ /tmp/pywg.$$; cat /tmp/pywg.$$; }}
    show show; show show interfaces; show show all dump
    {pywg} pywgt1; {pywg} pywgt0; {pywg} pywgt2
    wg set pywgt0 listen-port 7; wg set pywgt1 fwmark 3
    show show; show show all; show show all listen-port; show show all fwmark; show show all dump
    show show interfaces; show show all public-key
    {pywg} show --json; echo; {pywg} status --interval 0 --json
    setpriv --reuid 4243 --regid 4243 --clear-groups {pywg} show 2>&1 || echo status $?
    setpriv --reuid 4243 --regid 4243 --clear-groups {pywg} status 2>&1 || echo status $?
    for name in pywgt0 pywgt1 pywgt2; do ip link del $name; done
    for name in 0 1 2; do while test -e /run/wireguard/pywgt$name.sock; do sleep 0.05; done; done
    {pywg} status || echo status $?
    {pywg} status --json || echo status $?
    {pywg} status pywgt0 || echo status $?
    rm -f /tmp/wg.$$ /tmp/pywg.$$
    """
    out = in_a_folder_of_ones_own(lab.near, script)
    assert "pywgt0\t7\n" in out
    assert out.count("root alone") == 6
    assert "No tunnel of pywg runs. To start one: `pywg up NAME`" in out
    assert "pywgt0 does not run. To start it: `pywg up pywgt0`\nstatus 3\n" in out
    assert re.findall(r"status (\d)", out) == ["1", "1", "3", "3", "3"]


def status(site: Site, pywg: str, *words: str, **variables: str) -> str:
    code, out, err = ended(site, [pywg, "status", site.interface, *words], **variables)
    assert (code, err) == (0, b"")
    return out.decode()


def objects(site: Site, pywg: str, *words: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(status(site, pywg, "--json", "--interval", "0", *words))["interfaces"]
    return found[0]


def test_status(lab: Lab, shown: Site, pywg: str) -> None:
    lab.establish()  # lately, however long the tests before have taken
    text = status(shown, pywg, "--interval", "0.1")
    assert "\x1b" not in text
    assert f"PID {shown.pid}" in text
    assert re.search(r" up, (now|\d+ \w+ ago) .*10\.77\.0\.2:51820", text)
    assert "10.78.0.1/24, fd00:78::1/64" in text
    found = objects(shown, pywg)
    assert (found["listen_port"], found["fwmark"], found["in_this_namespace"]) == (51820, MARK or None, True)
    assert len(found["peers"]) == 5
    assert "  cipher " in text
    assert (found["up"], found["mtu"]) == (True, 1420)
    small = status(shown, pywg, "--interval", "0.1", COLUMNS="80", LINES="24").splitlines()
    assert max(map(len, small)) <= 80
    assert len(small) <= 24


def test_another_daemon_is_shown_as_far_as_it_tells(lab: Lab, pywg: str) -> None:
    lab.establish()
    alike(
        lambda: ended(lab.far, ["wg", "show", lab.far.interface, "dump"]),
        lambda: ended(lab.far, [pywg, "show", lab.far.interface, "dump"]),
    )
    found = objects(lab.far, pywg)
    assert (found["up"], found["listen_port"], found["counters"]) == (None, 51820, {})
    text = status(lab.far, pywg, "--interval", "0")
    assert "wireguard-go, PID" in text
    assert "up, " in text
    assert "cipher" not in text


def test_status_where_the_interface_is_not(shown: Site, pywg: str) -> None:
    """Sockets are one folder for all namespaces."""
    found = json.loads(run(pywg, "status", shown.interface, "--json", "--interval", "0"))["interfaces"][0]
    assert (found["in_this_namespace"], found["addresses"]) == (False, [])
    assert "in another network namespace" in run(pywg, "status", shown.interface, "--interval", "0")


@pytest.mark.parametrize("command", ["show", "status"])
def test_a_reader_that_goes_is_silence(shown: Site, pywg: str, command: str) -> None:
    line = f"{pywg} {command} {shown.interface} | true; echo ${{PIPESTATUS[0]}}"
    code, out, err = ended(shown, ["bash", "-c", line])
    assert (code, err) == (0, b"")
    assert out.strip() in (b"0", b"141")


def as_member(site: Site, argv: Sequence[str], group: str = GROUP) -> tuple[int, bytes, bytes]:
    return ended(site, ["setpriv", "--reuid", "4243", "--regid", group, "--clear-groups", *argv])


def test_status_of_a_peer_without_an_answer_as_root_and_as_a_monitor(open_lab: OpenLab, pywg: str) -> None:
    """Names are root's to see, keys nobody's here, and the cause is told to both."""
    daemon = replace(find("pywg"), env={"PYWG_MONITOR_SOCKET": GROUP})
    lab = open_lab(daemon, None, connect=False)
    site: Site = lab.near
    site.configure(1420)
    key = Keys.generate().public
    site.wg("set", site.interface, "peer", key, "endpoint", "10.77.0.2:9", "allowed-ips", "10.78.0.2/32")
    site.wg("set", site.interface, "peer", key, "persistent-keepalive", "1")
    config = Path(site.directory, "site.conf")
    config.write_text(f"# Name = berlin\n[Peer]\nPublicKey = {key}\n")
    state = Path("/run/pywg", f"{site.interface}.json")
    state.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        state.write_text(json.dumps({"file": str(config)}))
        poll(lambda: "trouble=10.77.0.2:9 refuses" in site.uapi("peers=1"), "the refusal is told", 60)
        text = status(site, pywg, "--interval", "0")
        assert re.search(r"\n  berlin +no answer, \d+ s ", text)
        assert re.search(r"\n +\d+ initiations unanswered for \d+ s: 10\.77\.0\.2:9 refuses what is sent there", text)
        (peer,) = objects(site, pywg)["peers"]
        assert (peer["name"], peer["state"]) == ("berlin", "no answer")
        code, out, err = as_member(site, [pywg, "status", site.interface, "--interval", "0", "--json"])
        assert (code, err) == (0, b"")
        (seen,) = json.loads(out)["interfaces"]
        assert (seen["public_key"], seen["private_key_set"]) == (None, None)
        assert (seen["peers"][0]["name"], seen["peers"][0]["state"]) == (None, "no answer")
        assert seen["daemon"]["pid"] == site.pid
        assert seen["peers"][0]["detail"].startswith(f"{seen['peers'][0]['initiations_unanswered']} initiations")
        code, out, _ = as_member(site, [pywg, "show", site.interface, "dump"])
        assert (code, out.split(b"\t")[0]) == (0, b"(hidden)")
        for words in (["status", site.interface], ["show", site.interface], ["show", site.interface, "--json"]):
            code, out, err = as_member(site, [pywg, *words], group="4243")
            assert (code, out, err.count(b"\n")) == (1, b"", 1)
            assert b"root alone" in err
    finally:
        state.unlink(missing_ok=True)


def test_top_of_a_real_daemon(lab: Lab, shown: Site, pywg: str) -> None:
    """On a terminal of its own, from which Ctrl-C comes when the first screen is there."""
    lab.establish()
    near, far = pty.openpty()
    argv = ["ip", "netns", "exec", shown.namespace.name, "setsid", "--ctty", pywg, "top", shown.interface]
    with subprocess.Popen(argv, stdin=far, stdout=far, stderr=far, env={**os.environ, "TERM": "xterm"}) as process:
        found = b""
        while b"10.77.0.2:51820" not in found:
            found += os.read(near, 1 << 16)
        os.write(near, b"\x03")
        assert process.wait(60) == 0
    os.close(near)
    os.close(far)
    assert b"up, " in found
