"""Receive packet steering: what is set, of which interface, and that nothing else is changed."""

import errno
import os
from pathlib import Path

import pytest

from pywg.runtime.net import steering
from pywg.runtime.net.steering import mask, spread, spread_already
from pywg.runtime.net.tun import open_tun
from tests.descriptors import own_descriptors
from tests.requirements import require_root, require_tool
from tests.runtime.namespace import run_inside, unique

SETTING = "class/net/{}/queues/rx-{}/rps_cpus"


@pytest.mark.parametrize(
    ("processors", "text"),
    [
        ([], "00000000"),
        ([0], "00000001"),
        ([0, 1, 31], "80000003"),
        ([32], "00000001,00000000"),
        ([1, 64, 95], "80000001,00000000,00000002"),
    ],
)
def test_processors_as_the_kernel_writes_them(processors: list[int], text: str) -> None:
    assert mask(processors) == text


@pytest.fixture
def name() -> str:
    require_root()
    require_tool("ip")
    return unique("pwr")


def _setting(interface: str, queue: int = 0) -> int:
    """What the kernel says, in a mount of sysfs that this namespace has."""
    folder = steering._own_sysfs()
    try:
        fd = os.open(SETTING.format(interface, queue), os.O_RDONLY, dir_fd=folder)
        try:
            return int(os.read(fd, 4096).replace(b",", b""), 16)
        finally:
            os.close(fd)
    finally:
        os.close(folder)


@pytest.mark.netns
def test_it_is_set_and_no_descriptor_is_left(name: str) -> None:
    def inside() -> None:
        tun = open_tun(name)
        before = own_descriptors(settled=True)
        mounts = Path("/proc/self/mountinfo").read_text()
        assert _setting(name) == 0
        assert spread_already(name) == 0
        assert spread(name) == spread_already(name) == len(os.sched_getaffinity(0))
        assert _setting(name) == sum(1 << number for number in os.sched_getaffinity(0))
        assert own_descriptors() == before
        assert Path("/proc/self/mountinfo").read_text() == mounts
        tun.close()

    run_inside(inside)


@pytest.mark.netns
def test_each_queue_has_a_setting_of_its_own(name: str) -> None:
    def inside() -> None:
        tun = open_tun(name, queues=4)
        assert [_setting(name, queue) for queue in range(4)] == [0] * 4
        spread(name)
        assert [_setting(name, queue) for queue in range(4)] == [_setting(name)] * 4 != [0] * 4
        tun.close()

    run_inside(inside)


@pytest.mark.netns
def test_an_interface_of_the_same_name_elsewhere_stays_as_it_is(name: str) -> None:
    """Where /sys is another namespace's: `nsenter --net` leaves it so."""

    def outside() -> None:
        theirs = open_tun(name)

        def inside() -> None:
            ours = open_tun(name)
            spread(name)
            assert _setting(name) != 0
            ours.close()

        run_inside(inside)
        assert _setting(name) == 0
        theirs.close()

    run_inside(outside)


@pytest.mark.netns
def test_an_interface_that_is_not_there(name: str) -> None:
    def inside() -> None:
        with pytest.raises(FileNotFoundError):
            spread(name)
        with pytest.raises(FileNotFoundError):
            spread_already(name)

    run_inside(inside)


def test_without_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int, *_: object) -> int:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(steering, "syscall", refuse)
    with pytest.raises(PermissionError):
        spread("wg0")
