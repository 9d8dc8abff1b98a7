"""Processors that are taken away, or were never there: the tunnel works with what is left, says so, and wastes none.

What a cpuset does to a process is done to its threads from outside here, one by one.
"""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bench.tunnel import traffic
from bench.tunnel.implementations import Implementation, find
from bench.tunnel.lab import Lab
from bench.tunnel.site import Site, poll
from bench.tunnel.transfer import exchange

from .conftest import OpenLab
from .supervisor import Supervisor
from .tcp_counters import late_segments

EXCHANGED = 16 << 20
THREADS = 6
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_VNET_HDR = 1, 0x0100, 0x1000, 0x4000


def _pywg(*options: str, on: int | None = None, env: dict[str, str] | None = None) -> Implementation:
    """With these options; `on` this processor alone from its start."""
    pywg = find("pywg")
    before = () if on is None else ("taskset", "--cpu-list", str(on))
    return replace(pywg, name="pywg-few", command=(*before, *pywg.command, *options), env={**pywg.env, **(env or {})})


def _processors() -> set[int]:
    return os.sched_getaffinity(0)


def _leave(site: Site, processors: set[int]) -> None:
    """Leaves every thread of the site's daemon these processors alone, as writing to a cpuset does."""
    for task in Path(f"/proc/{site.pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), processors)


def _ran(site: Site) -> dict[str, tuple[str, str]]:
    """Of each thread that moves packets: nanoseconds that it ran, and how often."""
    found = {}
    for task in Path(f"/proc/{site.pid}/task").iterdir():
        if (task / "comm").read_text().startswith("pywg-"):
            spent, _, times = (task / "schedstat").read_text().split()
            found[task.name] = spent, times
    assert found
    return found


def _rests(site: Site) -> bool:
    """Whether no thread ran while this looked twice, with a command between."""
    before = _ran(site)
    site.ip("link", "show")
    return _ran(site) == before


@contextmanager
def _stream(lab: Lab) -> Iterator[None]:
    with traffic.background(lab.near, lab.far, lab.far.inner(4)):
        poll(lambda: not _rests(lab.near), "the stream goes")
        yield


def _checked(lab: Lab) -> None:
    """Bytes both ways, nothing refused, and then rest."""
    exchange(lab.near.namespace, lab.far.namespace, lab.far.inner(4), EXCHANGED)
    for site in lab.sites:
        refused = ("rx_forged", "rx_replayed", "rx_malformed", "tx_seal_failed")
        stats = site.stats()
        assert {name: stats[f"counter_{name}"] for name in refused} == dict.fromkeys(refused, "0")
        poll(lambda: _rests(site), f"the threads of {site.name} sleep")  # noqa: B023


def test_all_processors_but_one_go_under_load_and_come_back(open_lab: OpenLab) -> None:
    few = _pywg("--threads", str(THREADS))
    lab = open_lab(few, few)
    lab.establish()
    every = _processors()
    assert {site.stats()["processors"] for site in lab.sites} == {str(len(every))}
    for left in ({min(every)}, {max(every)}, every):
        with _stream(lab):
            for site in lab.sites:
                _leave(site, left)
            for site in lab.sites:
                assert (site.stats()["processors"], site.stats()["threads"]) == (str(len(left)), str(THREADS))
        _checked(lab)


@pytest.mark.parametrize(("options", "threads"), [((), 2), (("--threads", "8"), 8)], ids=["auto", "8"])
def test_one_processor_from_the_start(open_lab: OpenLab, options: tuple[str, ...], threads: int) -> None:
    few = _pywg(*options, on=min(_processors()))
    lab = open_lab(few, few)
    lab.establish()
    for site in lab.sites:
        assert (site.stats()["processors"], site.stats()["threads"]) == ("1", str(threads))
    with _stream(lab):
        pass
    _checked(lab)


@pytest.mark.parametrize("flags", [0, IFF_VNET_HDR, IFF_MULTI_QUEUE, IFF_VNET_HDR | IFF_MULTI_QUEUE])
def test_a_tun_that_another_program_made(open_lab: OpenLab, flags: int) -> None:
    """With and without a virtio header and queues, by WG_TUN_FD: more threads than it has queues all the same."""
    lab = open_lab(None, "pywg", connect=False)
    lab.far.configure(lab.mtu)
    lab.far.add_peer(lab.near)
    with lab.near.namespace.entered():
        fd = os.open("/dev/net/tun", os.O_RDWR)
    supervisor = Supervisor(lab, fd)
    try:
        name = lab.near.interface.encode()
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name, IFF_TUN | IFF_NO_PI | flags))
        supervisor.start({"WG_TUN_FD": str(fd), "PYWG_THREADS": str(THREADS)}, fds=(fd,))
        lab.near.configure(lab.mtu)
        lab.near.add_peer(lab.far, endpoint=4)
        lab.establish()
        exchange(lab.near.namespace, lab.far.namespace, lab.far.inner(4), EXCHANGED)
        stats = dict(line.split("=", 1) for line in lab.near.uapi("stats=1").splitlines() if "=" in line)
        assert (stats["threads"], stats["offload_tun_vnet_hdr"]) == (str(THREADS), str(int(bool(flags & IFF_VNET_HDR))))
        assert stats["tun_rps"] == "0", "the interface is another program's"
        assert int(stats["counter_rx_packets"]) > EXCHANGED // lab.mtu
    finally:
        supervisor.close()


def _steered(site: Site) -> int:
    """The processors on which the kernel receives what is written to the site's interface, as a mask."""
    path = f"/sys/class/net/{site.interface}/queues/rx-0/rps_cpus"
    return int(site.namespace.run("cat", path).replace(",", ""), 16)


def test_the_kernel_receives_on_all_processors_where_that_is_asked_for(open_lab: OpenLab) -> None:
    lab = open_lab(_pywg("--threads", "10", env={"PYWG_TUN_RPS": "1"}), _pywg())
    lab.establish()
    assert lab.near.stats()["tun_rps"] == str(len(_processors()))
    assert _steered(lab.near) == sum(1 << number for number in _processors())
    assert (lab.far.stats()["tun_rps"], _steered(lab.far)) == ("0", 0)
    assert traffic.tcp(lab.far, lab.near, lab.near.inner(4), 1, streams=4).bits_per_s > 0
    _checked(lab)
    assert late_segments(lab.near.namespace, lab.far.namespace) == 0, "no segment overtook another of its flow"


def test_without_the_right_to_steer(open_lab: OpenLab) -> None:
    """CAP_SYS_ADMIN, which a container lacks: the tunnel is there, and statistics say what is not."""
    asked = _pywg(env={"PYWG_TUN_RPS": "1"})
    less = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    lab = open_lab(replace(asked, command=(*less, *asked.command)), asked)
    lab.establish()
    assert (lab.near.stats()["tun_rps"], _steered(lab.near)) == ("0", 0)
    assert lab.far.stats()["tun_rps"] == str(len(_processors()))
    exchange(lab.near.namespace, lab.far.namespace, lab.far.inner(4), EXCHANGED)
