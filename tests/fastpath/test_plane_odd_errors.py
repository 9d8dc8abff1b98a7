"""System calls of the two threads that fail for good: a thread pauses and counts, and the other direction goes on."""

import errno
import json
import subprocess
import sys

import pytest

from tests.fastpath.plane_harness import PlaneHarness
from tests.runtime.syscall_refusal import SUPPORTED

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="numbers of system calls are known for x86-64 alone")

POLL, RECVMMSG = 7, 299

PROGRAM = """
import errno, json, socket, sys, time
from tests.fastpath.plane_harness import PlaneHarness
from tests.runtime.syscall_refusal import Argument, refuse
number, code, waited_for, socket_fd, counter, helpers = json.loads(sys.argv[1])
with PlaneHarness(helpers=helpers) as harness:
    plane = harness.plane
    tests = [[Argument(1, count)] for count in waited_for] or [[Argument(0, harness.sockets.fd4)] if socket_fd else []]
    for arguments in tests:
        refuse(number, code, arguments, all_threads=True)
    plane.heartbeats()               # wakes both: their next call is refused
    near = harness.sockets.udp4.getsockname()[1]
    far, far6 = (socket.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6))
    with far, far6:
        far.sendto(b"junk", ("127.0.0.1", near))
        began = time.monotonic()
        harness.until(lambda: harness.counter(counter) >= 20, "errors")
        took, counted = time.monotonic() - began, harness.counter(counter)
        # Outbound: a packet that no peer takes. Inbound: junk by IPv6, and by IPv4 where that can be received.
        harness.tun.send(bytes(10) + bytes.fromhex("45000014000000004011000001020304") + bytes(4))
        harness.until(lambda: harness.counter("tx_no_peer") == 1, "the packet to go out")
        received = harness.counter("rx_malformed")
        if number != 299 or socket_fd:
            far6.sendto(b"junk", ("::1", near))
            harness.until(lambda: harness.counter("rx_malformed") > received, "the datagram to come in")
    print(json.dumps([took, counted]))
"""

WHILE_LENT = """
import json, sys
from tests.fastpath.plane_harness import PlaneHarness, Far, raw_packet
from tests.fastpath.test_handoff import lent
from tests.runtime.syscall_refusal import Argument, refuse
number, code, waited_for, helpers = json.loads(sys.argv[1])
with PlaneHarness(helpers=helpers) as harness:
    far = Far(harness)
    lent(harness, far)
    refuse(number, code, [Argument(1, waited_for)], all_threads=True)
    harness.write(raw_packet(60))   # wakes the thread that receives: its next call is refused
    harness.until(lambda: harness.counter("tx_returned") >= 1, "the sending to go back to its own thread")
    assert harness.counter("rx_wait_error") > 0
"""

TX_WAITS_FOR, RX_WAITS_FOR = 2, 4
"""Descriptors: the second argument of poll(2), by which a filter tells the threads apart."""


@pytest.mark.parametrize(
    ("number", "code", "waits_for", "one_socket", "counter"),
    [
        (POLL, errno.ENOMEM, [RX_WAITS_FOR], False, "rx_wait_error"),
        (POLL, errno.EINVAL, [RX_WAITS_FOR], False, "rx_wait_error"),
        (POLL, errno.ENOMEM, [TX_WAITS_FOR], False, "tx_wait_error"),
        (POLL, errno.EINVAL, [TX_WAITS_FOR, RX_WAITS_FOR], False, "tx_wait_error"),
        (RECVMMSG, errno.ENOMEM, [], True, "rx_receive_error"),
        (RECVMMSG, errno.ENOMEM, [], False, "rx_receive_error"),
        (RECVMMSG, errno.EPERM, [], False, "rx_receive_error"),
    ],
)
def test_a_thread_pauses_and_the_other_direction_goes_on(
    number: int, code: int, waits_for: list[int], one_socket: bool, counter: str
) -> None:
    output = run(PROGRAM, number, code, waits_for, one_socket, counter, PlaneHarness.helpers)
    took, counted = json.loads(output)
    # So few in so long a time: a bound that a slow machine makes easier. A thread that spins has millions a second.
    assert counted <= 20 + 8 + took * 1000


def test_a_thread_that_can_not_wait_does_not_send_for_the_other() -> None:
    run(WHILE_LENT, POLL, errno.ENOMEM, RX_WAITS_FOR, PlaneHarness.helpers)


def run(program: str, *case: object) -> str:
    """What it prints, in a process of its own: a filter of system calls is for life."""
    command = [sys.executable, "-c", program, json.dumps(case)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
