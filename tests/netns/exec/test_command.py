"""The command of `pywg exec`: what it has and sees of the machine, and what its file may ask for."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bench.tunnel.builds import ROOT
from bench.tunnel.site import poll
from tests.pages import blocks_in
from tests.requirements import require_tool

from .world import GATEWAY, GATEWAY6, INNER, INNER6, THERE6, USER, World, python

NAMES = ("inside.test", "intranet.example")
TELL = "import json, os, pathlib, re, socket, subprocess, sys\n"
WHO = (
    TELL
    + """
lines = pathlib.Path("/proc/self/status").read_text().splitlines()
status = dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)
run = lambda *argv: subprocess.run(argv, capture_output=True, text=True, check=False).stdout
print(json.dumps({
    "ids": [os.getuid(), os.geteuid(), os.getgid()],
    "capabilities": [status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")],
    "privileges": status["NoNewPrivs"].strip(),
    "descriptors": sorted(os.listdir("/proc/self/fd"), key=int),
    "processes": [int(name) for name in os.listdir("/proc") if name.isdigit()],
    "links": [name for _, name in socket.if_nameindex()],
    "addresses": re.findall("inet6? (\\\\S+)", run("ip", "-o", "address", "show", "scope", "global")),
    "routes": run("ip", "-4", "route") + run("ip", "-6", "route"),
    "mtu": re.findall("mtu (\\\\d+)", run("ip", "-o", "link", "show", "dev", sys.argv[1])),
    "resolv": pathlib.Path("/etc/resolv.conf").read_text(),
    "hosts": re.findall("^hosts:.*", pathlib.Path("/etc/nsswitch.conf").read_text(), re.M),
    "resolvers": [path for path in ("/run/nscd", "/run/avahi-daemon", "/run/systemd/resolve") if os.path.exists(path)],
    "name": run("getent", "ahostsv4", "inside.test"),
    "blocked": status["SigBlk"].strip(),
    "folder": os.getcwd(),
}))
"""
)
"""What a command sees of itself, as JSON. Its argument: the interface."""


@pytest.fixture(scope="module")
def services(_world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Of the gateway: names, a page, and iperf3."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "page").write_text("through the tunnel\n")
    dns = [require_tool("dnsmasq"), "-k", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file="]
    dns += [
        "--user=root",
        f"--listen-address={GATEWAY}",
        "--bind-interfaces",
        *(f"--address=/{name}/{GATEWAY}" for name in NAMES),
    ]
    page = [sys.executable, "-m", "http.server", "--bind", GATEWAY, "--directory", str(folder), "80"]
    null = subprocess.DEVNULL
    for argv in (dns, page, [require_tool("iperf3"), "-s"]):
        _world.far.start(argv, stdout=null, stderr=null)
    for port in ("53", "80", "5201"):
        poll(lambda port=port: f":{port} " in _world.far.run("ss", "-lnut"), f"port {port} is served")  # type: ignore[misc]


@pytest.mark.usefixtures("services")
def test_a_command_has_the_tunnel_and_no_other_network(alone: World) -> None:
    done = alone.run(*python(WHO, alone.interface))
    assert done.status == 0, done
    seen = json.loads(done.out)
    assert seen["ids"] == [USER, USER, USER]
    assert set(seen["capabilities"]) == {"0" * 16}
    assert seen["privileges"] == "1"
    assert seen["descriptors"] == ["0", "1", "2", "3"]  # the last is that of the list
    assert seen["processes"][:2] == [1, 2]
    assert max(seen["processes"]) < 10
    assert seen["links"] == ["lo", alone.interface]
    assert seen["addresses"] == [f"{INNER}/24", f"{INNER6}/64"]
    assert f"default dev {alone.interface}" in seen["routes"]
    assert seen["routes"].count("default") == 2
    assert seen["mtu"] == ["1420"]
    assert seen["resolv"] == f"nameserver {GATEWAY}\nsearch test\n"
    assert set(seen["hosts"][0].split()[1:]) <= {"files", "dns", "myhostname"}
    assert seen["resolvers"] == []
    assert GATEWAY in seen["name"]
    assert seen["blocked"] == "0" * 16
    assert seen["folder"] == "/"
    assert done.err == ""


@pytest.mark.usefixtures("services")
def test_ping_curl_and_iperf3(alone: World) -> None:
    tried = f"ping -qc1 -W20 {GATEWAY} && ping -qc1 -W20 {GATEWAY6} && curl -sS http://inside.test/page && "
    done = alone.run("sh", "-c", tried + f"iperf3 -c {GATEWAY6} --bidir -n 4M -J")
    assert done.status == 0, done
    assert done.out.count(" 0% packet loss") == 2
    assert "through the tunnel" in done.out
    assert '"sum_received_bidir_reverse"' in done.out


@pytest.mark.usefixtures("services")
def test_every_block_of_the_guide(alone: World) -> None:
    blocks = blocks_in((ROOT / "docs/exec.md").read_text())
    assert len(blocks) == 2
    home = Path(tempfile.mkdtemp(prefix="exec-home-"))
    try:
        home.chmod(0o755)
        shutil.move(shutil.copy(alone.file, home), home / "work.conf")
        os.chown(home / "work.conf", USER, USER)
        path = f"PATH={Path(alone.pywg).parent}:$PATH; cd {home}"
        said = alone.near.run(*alone.as_user("sh", "-ec", "\n".join([path, *blocks])))
    finally:
        shutil.rmtree(home)
    assert "Directory listing" in said
    assert " 0% packet loss" in said
    assert "default dev work" in said


def test_what_the_file_says_and_is_not_done_is_told(alone: World) -> None:
    hook = alone.folder / "hooked"
    more = f"Table = 77\nFwMark = 5\nPostUp = touch {hook}\nSaveConfig = true\nListenPort = 7999"
    alone.write(more=more, allowed=f"{GATEWAY}/32")
    done = alone.run("ip", "route")
    assert done.status == 0
    assert f"default dev {alone.interface}" not in done.out
    notes = done.err.splitlines()
    assert [line.split()[2].rstrip(",") for line in notes[:4]] == ["Table", "FwMark", "PostUp", "SaveConfig"]
    assert "names may not resolve inside" in notes[4]
    assert not hook.exists()


def test_a_file_of_ipv6_alone_over_ipv6(alone: World) -> None:
    alone.write(address=f"{INNER6}/64", allowed="::/0", endpoint=THERE6, more="MTU = 1380")
    done = alone.run("sh", "-c", f"ping -qc1 -W20 {GATEWAY6} && cat /sys/class/net/*/mtu; ip -4 route; ip -o link")
    assert " 0% packet loss" in done.out, done
    assert "mtu 1380" in done.out
    assert "default dev" not in done.out


@pytest.mark.parametrize(
    ("write", "said"),
    [
        ({"more": "Adress = 1.2.3.4/5"}, "unknown|Adress"),
        ({"endpoint": "no.such.name.invalid"}, "no.such.name.invalid"),
        ({"address": f"{INNER}/24, {INNER}/16", "allowed": GATEWAY, "more": "MTU = 100000"}, "100000|MTU"),
    ],
    ids=["line", "name", "value"],
)
def test_a_file_that_cannot_be_used_starts_nothing(alone: World, write: dict[str, str], said: str) -> None:
    alone.write(**write)
    process = alone.begin("echo", "started", environ={"WG_ENDPOINT_RESOLUTION_RETRIES": "0"})
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert re.search(said, err)
    assert err.startswith("pywg: ")


def test_a_port_that_is_taken_is_told(alone: World) -> None:
    alone.write(more="ListenPort = 7998")
    with alone.near.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 7998))
        done = alone.run("echo", "started")
    assert (done.status, done.out) == (1, "")
    assert "Address already in use" in done.err


def test_a_port_that_needs_a_privilege_is_told_with_what_to_do(alone: World) -> None:
    alone.write(more="ListenPort = 80")
    alone.near.run("sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=1024")
    for uid in (USER, 0):
        done = alone.run("echo", "started", uid=uid)
        assert (done.status, done.out) == (1, "")
        assert re.match(
            rf"pywg: {alone.file}:4:\d+: ListenPort: .* remove ListenPort, or take a higher one\n", done.err
        )
        assert "CAP_" not in done.err


def test_root_is_a_root_without_privileges(alone: World) -> None:
    """Signals that the caller ignores, as a shell does for what it runs beside itself, are all that is ignored."""
    own = re.search(r"SigIgn:\t(\w+)", Path("/proc/self/status").read_text())
    assert own is not None
    ignored = int(own[1], 16)
    for pythons in (signal.SIGPIPE, signal.SIGXFSZ):
        ignored &= ~(1 << pythons - 1)
    done = alone.run(
        "sh",
        "-c",
        f"id -u; grep -E 'CapEff|SigIgn' /proc/self/status; ping -qc1 -W20 {GATEWAY}; mount -t tmpfs x /mnt",
        uid=0,
    )
    assert done.out.startswith(f"0\nSigIgn:\t{ignored:016x}\nCapEff:\t{0:016}\n"), done
    assert " 0% packet loss" in done.out
    assert done.status != 0


def test_where_namespaces_are_off_it_names_the_knob(alone: World) -> None:
    # The limit is of the user namespace in which it is set, here one below the machine's.
    os.chown(alone.file, 0, 0)
    off = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    within = ["unshare", "--user", "--map-root-user", "sh", "-c", off, "sh", alone.pywg, "exec", str(alone.file)]
    done = subprocess.run([*within, "--", "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "pywg: this needs namespaces of its own, and can't have them: user.max_user_namespaces is 0; "
        "`sysctl user.max_user_namespaces=15000`, as root, allows them\n"
    )
