"""Faults of a daemon that carries packets: it lives, tells, doesn't spin, and goes on when they are over.

`python -m tests.faults` has each error of each call; here are those that have ended or deafened a daemon, and one of
each kind of call.
"""

import contextlib
from collections.abc import Iterator

import pytest

from bench.tunnel.site import poll
from tests.faults import injector
from tests.faults.calls import CASES, Case, number_of
from tests.faults.injector import SUPPORTED
from tests.faults.running import Outcome, Running
from tests.faults.sharded import SHARDS, Sharded
from tests.requirements import require_root

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(not SUPPORTED, reason="numbers of system calls are known for x86-64 alone"),
]

ONE_IN = 3
CHOSEN = {
    "recvmmsg": ("ENOMEM",),
    "sendmmsg": ("ENOBUFS",),
    "sendto (UDP)": ("ENETUNREACH",),
    "read (TUN)": ("EIO",),
    "writev (TUN)": ("ENOMEM",),
    "poll": ("ENOMEM",),
    "read (eventfd)": ("EIO",),
    "write (eventfd)": ("EIO",),
    "socket": ("EMFILE",),
    "bind (UDP)": ("EADDRINUSE",),
    "setsockopt": ("ENOMEM",),
    "ioctl": ("EIO",),
    "sendto (rtnetlink)": ("ENOBUFS",),
    "recvfrom (rtnetlink)": ("ENOMEM",),
    "accept4": ("EMFILE",),
    "recvfrom (clients)": ("ECONNRESET",),
    "sendto (clients)": ("ENOBUFS",),
    "newfstatat": ("EIO",),
    "epoll_ctl": ("ENOMEM",),
    "epoll_wait": ("EIO",),
    "mmap": ("ENOMEM",),
    "mlock": ("ENOMEM",),
    "getrandom": ("ENOSYS",),
}
"""Errors by the name of their case."""
COUNTED = {
    "recvmmsg": {"counter_rx_receive_error"},
    "sendmmsg": {"counter_tx_send_error"},
    "sendto (UDP)": {"counter_tx_unreachable_error"},
    "read (TUN)": {"counter_tx_tun_error"},
    "writev (TUN)": {"counter_rx_tun_error"},
    "poll": {"counter_rx_wait_error", "counter_tx_wait_error"},
}
"""What has to count a refused call on a packet's way."""
ROWS = [(case, error) for case in CASES for error in CHOSEN.get(case.name, ())]
OF_SHARDS = {
    "recvmmsg": "ENOMEM",
    "read (TUN)": "EIO",
    "poll": "ENOMEM",
    "socket": "EMFILE",
    "setsockopt (SO_REUSEPORT)": "ENOMEM",
    "setsockopt (SO_ATTACH_REUSEPORT_CBPF)": "ENOMEM",
}
"""The same of a daemon with shards."""
ONE_RECEIVES = {"setsockopt (SO_REUSEPORT)", "setsockopt (SO_ATTACH_REUSEPORT_CBPF)"}
"""Without these calls one thread receives, and a line says so."""


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    require_root()
    with Running() as running:
        yield running


@pytest.fixture(scope="module")
def sharded() -> Iterator[Sharded]:
    require_root()
    with Sharded() as running:
        yield running


@pytest.mark.parametrize("every", [ONE_IN, 1], ids=["some", "all"])
@pytest.mark.parametrize(("case", "error"), ROWS, ids=[f"{case.name}-{error}" for case, error in ROWS])
def test_a_fault_ends_nothing(running: Running, case: Case, error: str, every: int) -> None:
    outcome = running.fault(
        case.call, number_of(error), every=every, kind=case.kind, doing=case.doing, fresh=case.fresh
    )
    assert outcome.failed or 0 < outcome.matched < every
    assert outcome.faults == ()
    if counters := COUNTED.get(case.name):
        assert counters & set(outcome.tells)


@pytest.mark.parametrize("case", [case for case in CASES if case.name in OF_SHARDS], ids=lambda case: case.name)
def test_a_fault_ends_no_shard(sharded: Sharded, case: Case) -> None:
    outcome = sharded.fault(
        case.call, number_of(OF_SHARDS[case.name]), kind=case.kind, arguments=case.arguments, doing=case.doing
    )
    assert outcome.failed
    assert outcome.faults == ()
    if counters := COUNTED.get(case.name):
        assert counters & set(outcome.tells)
    assert any("so one thread receives" in tell for tell in outcome.tells) or case.name not in ONE_RECEIVES


def test_every_chosen_row_is_one() -> None:
    assert set(CHOSEN) | set(OF_SHARDS) | ONE_RECEIVES <= {case.name for case in CASES}


def test_each_shard_sends_and_receives(sharded: Sharded) -> None:
    """What `Sharded` sends comes by each queue and by a socket of each shard."""
    queues, sockets = sharded.descriptors()
    assert (len(queues), len(sockets)) == (SHARDS, 2 * SHARDS)
    by = dict.fromkeys(queues, "read") | dict.fromkeys(sockets, "recvmmsg")
    with contextlib.ExitStack() as rules:
        counted = {
            fd: rules.enter_context(sharded.injector.failing(call, 0, every=1 << 30, arguments=((0, fd),)))
            for fd, call in by.items()
        }
        sharded.until_all_carry()
        seen = {fd for fd, rule in counted.items() if rule.matched}
    assert seen >= set(queues)
    assert len(seen & set(sockets)) == SHARDS, "those of IPv4"


def test_a_daemon_that_spins_or_dies_is_found(running: Running) -> None:
    """Errors that libuv takes for its own faults, or that the kernel never gives for ever: here they are planted."""
    spins = running.fault("recvmmsg", number_of("EINTR"), more_s=4.0)
    assert spins.faults, spins
    assert "calls in" in spins.faults[0]
    ends = running.fault("epoll_pwait", number_of("EIO"), doing=(Running.get,))
    assert ends.faults, ends
    assert ends.faults[0] == "ends"
    control: Outcome = running.fault("recvmmsg", number_of("EINTR"), every=1 << 30)
    assert (control.failed, control.faults) == (0, ())


def test_kinds_of_descriptors_are_told_apart(running: Running) -> None:
    """Each kind has calls of its own, and `write` none on a socket."""
    seen = {}
    for kind in (injector.TUN, injector.EVENT, injector.UDP, injector.UNIX):
        with running.injector.failing("read", number_of("EIO"), every=1 << 30, kind=kind) as rule:
            running.packets()
            running.get()
            running.handshakes()
            if kind in (injector.TUN, injector.EVENT):
                poll(lambda: rule.matched > 0, f"kind {kind} is read")
            seen[kind] = rule.matched
    assert (seen[injector.UDP], seen[injector.UNIX]) == (0, 0)
