"""What befalls a daemon from without: stopped, killed at both ends, wall clocks that jump, full disks, rude clients.

PYWG_LONG=1 for the long form.
"""

import contextlib
import errno
import mmap
import os
import random
import shlex
import signal
import socket
import struct
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import pytest

from bench.soak.watch import sample
from bench.tunnel.command import CommandError, run
from bench.tunnel.implementations import find
from bench.tunnel.site import Site, poll
from tests.fuzz.mutate import mutate
from tests.memory_group import kills, limited

from . import dropin
from .conftest import OpenLab
from .dropin import peers, scaled
from .outer_link import INITIATION, RESPONSE, Link

pytest_generate_tests = dropin.parametrize_subject

RESUMES_WITHIN_S = 5.0
YEAR_S = 365 * 24 * 3600
KEY = "42" * 32
NOBODYS = "192.0.2.7/32"  # which the last of the peers that are given it has
REQUEST_LINES = [
    line.encode()
    for line in (
        f"private_key={KEY}",
        f"public_key={KEY}",
        f"public_key={KEY[::-1]}",
        f"preshared_key={KEY}",
        "listen_port=51830",
        "fwmark=7",
        "replace_peers=true",
        "remove=true",
        "update_only=true",
        "endpoint=192.0.2.1:51820",
        "endpoint=[2001:db8::1]:1",
        "persistent_keepalive_interval=25",
        "replace_allowed_ips=true",
        "protocol_version=1",
        "allowed_ip=192.0.2.7/32",
        "allowed_ip=2001:db8::/32",
        "",
    )
]
REQUESTS_MOST = 40
"""Of one connection."""
MAY_GROW = 4 << 20
LIMIT = 8 << 20
"""Bytes of memory, beyond what a daemon has when it comes to its control group."""
CLOCK = Path(__file__).with_name("wall_clock.c")


@pytest.mark.dropin("17")
@pytest.mark.timeout(3600)
def test_stopped_and_continued_under_traffic(subject: str, open_lab: OpenLab) -> None:
    """What came meanwhile is dropped by the kernel or answered late; the session goes on."""
    lab = dropin.tunnel(open_lab, subject)
    near, far = lab.near, lab.far
    before = far.wg("show", far.interface, "latest-handshakes")
    with dropin.repeated(lambda: dropin.kick(near, far.inner(4), 1000)):
        for number in range(scaled(3, 30)):
            for site in (near, far) if number % 3 == 2 else (near,) if number % 3 else (far,):
                os.kill(site.pid, signal.SIGSTOP)
            assert not dropin.answers(near, far.inner(4)), "the control: nothing answers now"
            for site in (near, far):
                os.kill(site.pid, signal.SIGCONT)
            dropin.resumes(near, far.inner(4), RESUMES_WITHIN_S)
    assert far.wg("show", far.interface, "latest-handshakes") == before


@pytest.mark.dropin("5", "6", "kill -9 and restart")
@pytest.mark.timeout(3600)
def test_power_cut_at_both_ends(subject: str, open_lab: OpenLab) -> None:
    """Neither says goodbye. With both configured again, one handshake brings the tunnel back."""
    lab = dropin.tunnel(open_lab, subject, psk=True)
    near, far = lab.near, lab.far
    for _ in range(scaled(2, 100)):
        for site in (near, far):
            assert site.daemon is not None
            site.daemon.kill()
        for site in (near, far):
            assert site.daemon is not None
            site.daemon.wait()
            poll(partial(_has_no_interface, site), "the interface goes with its daemon")
        for site in (near, far):
            site.start()
            site.configure(lab.mtu)
        far.add_peer(near, preshared_key=lab.preshared_key)
        with Link(near, unsegmented=False) as link:
            near.add_peer(far, preshared_key=lab.preshared_key, endpoint=4)
            dropin.resumes(near, far.inner(4), RESUMES_WITHIN_S)
            assert (len(link.sent(INITIATION)), len(link.received(RESPONSE))) == (1, 1)


def _has_no_interface(site: Site) -> bool:
    return site.interface not in site.ip("-o", "link")


@pytest.mark.dropin("wg-quick")
def test_a_full_disk_leaves_the_saved_file_whole(subject: str, open_lab: OpenLab, tmp_path: Path) -> None:
    site = dropin.tunnel(open_lab, subject).near
    directory = tmp_path / "small"
    directory.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=8k,mode=0700", "none", str(directory))
    try:
        path = directory / f"{site.interface}.conf"
        path.write_text(f"[Interface]\nPrivateKey = {site.keys.private}\n")
        path.chmod(0o600)
        site.namespace.run("wg-quick", "save", str(path))
        saved = path.read_text()
        assert f"PublicKey = {_other(site)}" in saved, "the control: with room, it is saved"
        filler = directory / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(512))
        with pytest.raises(CommandError):
            site.namespace.run("wg-quick", "save", str(path))
        assert path.read_text() == saved
        assert site.alive()
    finally:
        run("umount", str(directory))


@pytest.mark.dropin("UAPI clients")
def test_no_memory_under_traffic(pywg: str, open_lab: OpenLab) -> None:
    """Packets and handshakes go on, a change is refused whole; with memory again, all is as ever."""
    lab = dropin.tunnel(open_lab, "pywg")
    near, far = lab.near, lab.far
    before = peers(near)
    keys = map(dropin.hexkey, dropin.public_keys(5_000))
    many = [line for key in keys for line in (f"public_key={key}", f"allowed_ip={NOBODYS}")]
    with dropin.repeated(lambda: dropin.kick(near, far.inner(4), 1000)):
        _limit_address_space(near, int(_status(near, "VmSize")[0]) << 10)
        for _ in range(scaled(3, 30)):
            assert dropin.set_(near, *many) == -errno.ENOMEM
            assert len(peers(near)) == 1
            time.sleep(dropin.INITIATIONS_APART_S)
            far.ip("link", "set", far.interface, "down")  # its session goes
            far.ip("link", "set", far.interface, "up")
            dropin.resumes(far, near.inner(4), RESUMES_WITHIN_S)
        _limit_address_space(near, "unlimited")
        assert dropin.set_(near, *many) == 0
        assert len(peers(near)) == 5_001
        dropin.resumes(near, far.inner(4), RESUMES_WITHIN_S)
    assert [peer["public_key"] for peer in before] == [peer["public_key"] for peer in peers(near)[:1]]
    assert near.stats()["sandbox_refused"] == "0"


def _limit_address_space(site: Site, limit: int | Literal["unlimited"]) -> None:
    """As the daemon's own user, who needs no CAP_SYS_RESOURCE for it: root may lack that in a container."""
    uid, gid = _status(site, "Uid")[0], _status(site, "Gid")[0]
    user = ("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups")
    run(*user, "prlimit", f"--pid={site.pid}", f"--as={limit}:")


def _status(site: Site, name: str) -> list[str]:
    lines = Path(f"/proc/{site.pid}/status").read_text().splitlines()
    return next(line.split()[1:] for line in lines if line.startswith(f"{name}:"))


@pytest.mark.dropin("kill -9 and restart")
def test_killed_for_want_of_memory_under_traffic(pywg: str, open_lab: OpenLab) -> None:
    """While packets go both ways. Nothing of it stays, and a daemon that is started again has the tunnel back.

    Without wireguard-go beside it: where both ends want a handshake at once, that may take it half a minute.
    """
    lab = dropin.tunnel(open_lab, "pywg")
    near, far = lab.near, lab.far
    assert near.daemon is not None
    with limited(near.interface, LIMIT) as group, _both_ways(near, far):
        (group / "cgroup.procs").write_text(str(near.pid))
        dropin.resumes(near, far.inner(4), RESUMES_WITHIN_S)
        assert kills(group) == 0, "the control: for packets there is enough"
        _fill(near)
        assert near.daemon.wait(60) == -signal.SIGKILL
        assert kills(group) == 1
        poll(partial(_has_no_interface, near), "the interface goes with its daemon")
        near.start()
        near.configure(lab.mtu)
        near.add_peer(far, endpoint=4)
        dropin.resumes(near, far.inner(4), RESUMES_WITHIN_S)
        dropin.resumes(far, near.inner(4), RESUMES_WITHIN_S)


@contextlib.contextmanager
def _both_ways(near: Site, far: Site) -> Iterator[None]:
    """Large packets from either end, as fast as a thread can."""
    with (
        dropin.repeated(lambda: dropin.kick(near, far.inner(4), 1000)),
        dropin.repeated(lambda: dropin.kick(far, near.inner(4), 1000)),
    ):
        yield


def _fill(site: Site) -> None:
    """More peers than there is memory for; ends with the daemon."""
    with contextlib.suppress(OSError):
        for _ in range(100):
            lines = [f"public_key={dropin.hexkey(key)}" for key in dropin.public_keys(2_000)]
            if "errno=0" not in site.uapi("\n".join(["set=1", *lines])):
                return


def _other(site: Site) -> str:
    return site.wg("show", site.interface, "peers").strip()


@pytest.mark.dropin("time")
def test_handshakes_go_on_while_the_wall_clock_jumps(pywg: str, open_lab: OpenLab, tmp_path: Path) -> None:
    """Years back and forth, with a peer that refuses a timestamp that is not greater than the last."""
    library, control = tmp_path / "wall_clock.so", tmp_path / "offset"
    compiler = shlex.split(sysconfig.get_config_var("CC"))
    run(*compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(CLOCK))
    control.write_bytes(bytes(8))
    env = {"LD_PRELOAD": str(library), "PYWG_WALL_CLOCK": str(control)}
    lab = open_lab(replace(find("pywg"), env=env), "pywg")
    lab.establish()
    near, far = lab.near, lab.far
    with control.open("r+b") as file, mmap.mmap(file.fileno(), 8) as offset:
        for seconds in (0, 3600, -3600, 10 * YEAR_S, -10 * YEAR_S, 0)[: scaled(5, 6)]:
            offset[:] = struct.pack("=q", seconds)
            time.sleep(dropin.INITIATIONS_APART_S)
            with Link(near, unsegmented=False) as link:
                near.ip("link", "set", near.interface, "down")  # sessions go; both ends remember the last timestamp
                near.await_link(up=False)  # else sessions stay
                near.ip("link", "set", near.interface, "up")
                dropin.resumes(near, far.inner(4), RESUMES_WITHIN_S)
                assert link.received(RESPONSE) != []
            shown = int(near.wg("show", near.interface, "latest-handshakes").split()[1])
            assert abs(shown - (_wall_s() + seconds)) < 60, "the control: the daemon's clock did jump"


def _wall_s() -> int:
    return int(run("date", "+%s"))


@pytest.mark.dropin("UAPI clients")
def test_a_thousand_idle_clients(pywg: str, open_lab: OpenLab) -> None:
    """Those idle longest are ended, the next is answered, and nothing of them stays."""
    lab = dropin.tunnel(open_lab, "pywg")
    site = lab.near
    before = site.usage()
    with contextlib.ExitStack() as clients:
        for _ in range(1000):
            client = clients.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            client.connect(str(site.uapi_socket))  # waits while the backlog is full
        assert len(peers(site)) == 1
        assert site.usage().fds < before.fds + 100
        dropin.resumes(site, lab.far.inner(4))
    poll(lambda: site.usage().fds <= before.fds, "as many descriptors as before")
    assert site.usage().threads == before.threads


@pytest.mark.dropin("Bad input")
@pytest.mark.timeout(7200)
def test_mutated_requests(pywg: str, open_lab: OpenLab) -> None:
    """Each is answered with an errno of the protocol's or hung up on, and the daemon answers the next.

    Some on each connection, up to the one that the daemon hangs up on.
    """
    lab = dropin.tunnel(open_lab, "pywg")
    site = lab.near
    chance = random.Random(1)
    known = {
        0,
        errno.EINVAL,
        errno.EPROTO,
        errno.EADDRINUSE,
        errno.EACCES,
        errno.EADDRNOTAVAIL,
        errno.ENOMEM,
        errno.EPERM,
    }
    answered = connections = 0
    before = sample(site.pid, 0.0)
    while answered < scaled(1_000, 1_000_000):
        connections += 1
        request = b"".join(_mutated(chance) for _ in range(chance.randint(1, REQUESTS_MOST)))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(20)
            client.connect(str(site.uapi_socket))
            with contextlib.suppress(ConnectionError):
                client.sendall(request)
                client.shutdown(socket.SHUT_WR)
            reply = b""
            with contextlib.suppress(ConnectionError):
                while more := client.recv(1 << 16):
                    reply += more
        for line in reply.splitlines():
            if line.startswith(b"errno="):
                answered += 1
                assert -int(line[6:]) in known, request
    assert site.alive()
    assert "errno=0" in site.uapi("get=1")
    assert "internal error" not in site.log_tail()
    site.uapi(f"set=1\nprivate_key={dropin.hexkey(site.keys.private)}\nlisten_port=51820\nfwmark=0\nreplace_peers=true")
    site.add_peer(lab.far, endpoint=4)
    dropin.resumes(site, lab.far.inner(4))
    poll(lambda: sample(site.pid, 0.0).fds <= before.fds, "as many descriptors as before")
    after = sample(site.pid, 0.0)
    assert after.threads == before.threads
    assert after.private_bytes - before.private_bytes < MAY_GROW
    print(
        f"mutated requests: {answered} answered, on {connections} connections, memory "
        f"{(after.private_bytes - before.private_bytes) >> 10:+} KiB"
    )


def _mutated(chance: random.Random) -> bytes:
    return b"set=1\n" + mutate(chance, b"\n".join(chance.choices(REQUEST_LINES, k=chance.randint(1, 12)))) + b"\n\n"
