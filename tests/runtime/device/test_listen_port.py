"""What a device says of its port and mark is so: any sequence of changes, up and down, beside ports that come and go.

dropin: 8, 9, 13, 14.
"""

import errno

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pywg.errors import UapiError
from pywg.runtime.device.listen_port import BIND_RETRY_S
from tests.runtime.device_harness import DeviceHarness, FakeSockets

PORTS = st.sampled_from([7, 8, 9])
MARKS = st.sampled_from([0, 1, 2])


class ListenPortMachine(RuleBasedStateMachine):
    """A device, and others who take ports that are free."""

    def __init__(self) -> None:
        super().__init__()
        self.harness = DeviceHarness()
        self.up = False
        self.asked: int | None = None
        """The last port that a successful change asked for; None once the interface went down after that."""
        self.mark = 0
        self.released = True
        """Whether down gave up the port since it was last asked for."""

    def open_sockets(self) -> list[FakeSockets]:
        return [sockets for sockets in self.harness.opened if sockets.open]

    @rule(port=st.none() | st.just(0) | PORTS, mark=st.none() | MARKS)
    def set(self, port: int | None, mark: int | None) -> None:
        harness = self.harness
        before = harness.device.status()
        had = self.open_sockets()
        marks = [sockets.mark for sockets in had]
        new_mark = mark not in (None, before.fwmark, 0)
        taken = port in harness.taken_ports
        code = 0
        try:
            harness.set(listen_port=port, fwmark=mark)
        except UapiError as error:
            code = error.errno
        if code:
            assert code in (errno.EADDRINUSE, errno.EPERM)
            assert taken if code == errno.EADDRINUSE else harness.refuse_mark
            assert harness.device.status() == before
            assert self.open_sockets() == had
            assert [sockets.mark for sockets in had] == marks
            return
        assert not taken
        assert not (new_mark and harness.refuse_mark)
        if mark is not None:
            self.mark = mark
            assert harness.device.status().fwmark == mark
        if port is not None:
            self.asked, self.released = port, False
            assert harness.device.status().listen_port == port or (port == 0 and self.up)
            if port or self.up:
                assert [sockets.port for sockets in self.open_sockets()] == [harness.device.status().listen_port]

    @rule()
    def set_up(self) -> None:
        self.up = True
        self.harness.device.up()

    @rule()
    def set_down(self) -> None:
        self.released = self.released or self.up
        self.up = False
        self.harness.device.down()

    @rule(port=PORTS)
    def another_takes_it(self, port: int) -> None:
        if all(sockets.port != port for sockets in self.open_sockets()):
            self.harness.taken_ports.add(port)

    @rule()
    def others_take_the_port_that_was_chosen(self) -> None:
        port = self.harness.device.status().listen_port
        if port and all(sockets.port != port for sockets in self.open_sockets()):
            self.harness.taken_ports.add(port)

    @rule()
    @precondition(lambda self: self.harness.taken_ports)
    def others_free_all(self) -> None:
        self.harness.taken_ports.clear()

    @rule(refuse=st.booleans())
    def marks_are_refused(self, refuse: bool) -> None:
        self.harness.refuse_mark = refuse
        for sockets in self.open_sockets():
            sockets.refuse_mark = refuse

    @rule()
    def time_passes(self) -> None:
        self.harness.timers.advance(2 * BIND_RETRY_S)
        if self.up and not self.harness.taken_ports and not self.harness.refuse_mark:
            assert self.open_sockets(), "it is had once it can be"

    @invariant()
    def what_is_said_is_so(self) -> None:
        status = self.harness.device.status()
        sockets = self.open_sockets()
        assert len(sockets) <= 1
        assert status.fwmark == self.mark
        for each in sockets:
            assert each.port == status.listen_port
            assert each.mark == status.fwmark
            assert each.held != self.up
        if self.asked:
            assert status.listen_port == self.asked
            assert sockets or self.released, "a port that was promised, and never given up"
        assert self.up or not self.harness.timers.pending()
        assert self.harness.sockets is (sockets[0] if sockets and self.up else None), "the plane has what is in use"


pytestmark = pytest.mark.dropin("9", "13")
TestListenPort = ListenPortMachine.TestCase
