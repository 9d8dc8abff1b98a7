"""A device that another one goes on with: what the protocol must know is there, and no counter is used twice."""

import io
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywg.config.model import PeerChange
from pywg.errors import DeviceError, UapiError
from pywg.runtime.base.parcel import Reader, Writer
from pywg.runtime.device import carried
from pywg.runtime.device.carried import DeviceState
from tests.fake_plane import TRANSPORT
from tests.runtime.device_harness import DeviceHarness, FakeSockets, Pair, clamped, peer_key, prefix

Wire = list[tuple[str, bytes]]


def written(state: DeviceState) -> bytes:
    """As it is in a parcel."""
    text = Writer()
    carried.write(state, text)
    return b"".join(bytes(memoryview(part)) for part in text.parts)


def read(data: bytes) -> DeviceState:
    return carried.read(Reader(memoryview(data)))


def stopped(old: DeviceHarness) -> bytes:
    """What a device that has stopped carries."""
    old.plane.detach_tun()
    old.device.freeze()
    return written(old.device.carried())


def next_one(pair: Pair, old: DeviceHarness, data: bytes) -> DeviceHarness:
    """A new device in the place of `old`, which has its sockets, and goes on."""
    new = DeviceHarness(pair.timers, old.address)
    new.clock_offset = old.clock_offset
    sockets: FakeSockets | None = None
    if old.opened and old.opened[-1].open:
        sockets = old.opened[-1]
        new.opened.append(sockets)
    new.device.resume(read(data), sockets)
    again = written(new.device.carried())
    assert again == data
    new.device.go_on()
    return new


def handed_over(pair: Pair, old: DeviceHarness) -> DeviceHarness:
    """`old` ends, and another goes on."""
    new = next_one(pair, old, stopped(old))
    old.device._tunnel.down(pair.timers.now)  # no timer of it may fire
    if pair.a is old:
        pair.a = new
    else:
        pair.b = new
    return new


def carry(pair: Pair, wire: Wire, *, lose: bool = False) -> None:
    """Delivers until nothing moves, or loses all, and notes what was sent."""
    while pair.a.plane.sent or pair.b.plane.sent:
        for name, here, there in (("a", pair.a, pair.b), ("b", pair.b, pair.a)):
            messages, here.plane.sent = here.plane.sent, []
            for _, data in messages:
                wire.append((name, data))
                if not lose and there.sockets is not None and here.sockets is not None:
                    there.plane.receive(data, (here.address, here.in_use.port, 0, there.address, 1))
            there.poll()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["write", "keep", "lose", "over", "replay", "fail"]), st.sampled_from("ab")),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 5.3, 20.0, 65.0, 121.0, 190.0, 560.0])),
    ),
    max_size=25,
)


@given(STEPS)
@settings(max_examples=40, deadline=None)
def test_no_counter_is_used_twice_and_nothing_is_delivered_twice(steps: list[tuple[str, object]]) -> None:
    """Whatever happens between: both ends are handed over, or are to be and go on, with messages lost and repeated."""
    pair = Pair()
    wire: Wire = []
    pair.a.report(1, 1)
    carry(pair, wire)
    delivered: Counter[bytes] = Counter()
    number = 0
    for step, what in steps:
        here = pair.a if what == "a" else pair.b
        if step == "wait":
            assert isinstance(what, float)
            pair.timers.advance(what)
            carry(pair, wire)
        elif step == "over":
            before = here.device.status()
            key = bytes(memoryview(before.private_key)) if before.private_key else b""
            delivered.update(here.plane.delivered)
            here = handed_over(pair, here)
            after = here.device.status()
            assert (key, before.peers, before.listen_port) == (
                bytes(memoryview(after.private_key)) if after.private_key else b"",
                after.peers,
                after.listen_port,
            )
        elif step == "fail":
            stopped(here)
            here.device.thaw()
        elif step == "replay":
            other = "b" if what == "a" else "a"
            for name, data in wire[-40:]:
                if name == other and here.sockets is not None:
                    here.plane.receive(data, (bytes([192, 0, 2, 9]), 9, 0, here.address, 1))
            here.poll()
        else:
            number += 1
            here.plane.write(1, b"%d" % number)
            here.poll()
            carry(pair, wire, lose=step == "lose")
    for here in (pair.a, pair.b):
        delivered.update(here.plane.delivered)
    assert set(delivered.values()) <= {1}
    used = Counter((name, data[4:8], data[8:16]) for name, data in wire if data[0] == TRANSPORT)
    assert set(used.values()) <= {1}


def test_a_session_goes_on_without_a_handshake() -> None:
    pair = Pair()
    pair.handshake()
    for _ in range(3):
        for here in ("a", "b"):
            handed_over(pair, getattr(pair, here))
        wire: Wire = []
        pair.a.plane.write(1, b"there")
        pair.b.plane.write(1, b"back")
        carry(pair, wire)
        assert {data[0] for _, data in wire} == {TRANSPORT}
        assert (pair.b.plane.delivered, pair.a.plane.delivered) == ([b"there"], [b"back"])
    pair.timers.advance(125.0)
    pair.a.write(1)
    assert pair.carry() >= 3, "the next handshake comes in its time"


def test_a_recorded_initiation_is_a_replay_to_the_next_daemon_too() -> None:
    pair = Pair()
    pair.a.report(1, 1)
    (initiation,) = [data for _, data in pair.a.plane.sent]
    pair.carry()
    handed_over(pair, pair.b)
    pair.timers.advance(1.0)
    addr = (pair.a.address, 1, 0, pair.b.address, 1)
    pair.b.plane.receive(initiation, addr)
    pair.b.poll()
    assert pair.b.plane.sent == []
    assert pair.b.device._bridge.dropped["replayed initiation"] == 1


def test_timestamps_go_on_growing_where_the_clock_has_gone_back() -> None:
    pair = Pair()
    pair.a.report(1, 1)
    pair.carry()
    pair.a.clock_offset = -3600.0
    handed_over(pair, pair.a)
    pair.timers.advance(130.0)
    pair.a.write(1)
    assert pair.carry() >= 3
    assert pair.b.device._bridge.dropped == Counter()


def test_a_device_that_has_stopped_refuses_changes_and_goes_on_with_them_afterwards() -> None:
    pair = Pair()
    pair.handshake()
    stopped(pair.a)
    with pytest.raises(UapiError, match="another daemon"):
        pair.a.set(listen_port=7)
    pair.a.plane.write(1, b"waits")
    pair.a.device.rebind()
    pair.timers.advance(30.0)
    assert pair.a.plane.sent == []
    pair.a.device.thaw()
    pair.a.set(listen_port=7)
    pair.a.write(1)
    wire: Wire = []
    carry(pair, wire)
    assert b"waits" in pair.b.plane.delivered


def many() -> DeviceHarness:
    """A device with peers of every kind."""
    pair = Pair()
    pair.handshake()
    near = pair.a
    near.set(
        PeerChange(
            peer_key(3), preshared_key=bytes(range(32)), persistent_keepalive=25, allowed_ips=[prefix("1.2.3.4/32")]
        ),
        PeerChange(peer_key(4), endpoint=(bytes(16), 5, 0)),
        fwmark=9,
    )
    return near


def test_what_is_cut_off_or_changed_is_refused_or_a_state() -> None:
    """In the new daemon, which is root: whatever it is told, it raises nothing but DeviceError."""
    data = stopped(many())
    for length in range(len(data)):
        with pytest.raises(DeviceError, match="can't be used: it ends too early"):
            read(data[:length])
    refused = 0
    for at in range(len(data)):
        for value in (0x00, 0xFF, data[at] ^ 0x80):
            changed = bytearray(data)
            changed[at] = value
            new = DeviceHarness()
            new.timers.now = 2000.0
            try:
                new.device.resume(read(bytes(changed)), FakeSockets(1, 0))
            except DeviceError:
                refused += 1
    assert refused > 100


@pytest.mark.parametrize("number", [1 << 20, (1 << 32) - 1])
def test_a_number_of_peers_that_no_one_has_costs_nothing(number: int) -> None:
    data = bytearray(stopped(many()))
    data[14:18] = number.to_bytes(4, "little")
    with pytest.raises(DeviceError, match="can't be used"):
        read(bytes(data))


def test_the_ceiling_holds() -> None:
    near = many()
    ceiling = near.device.carried_bytes
    assert len(stopped(near)) <= ceiling


def test_no_key_is_in_what_is_said_of_a_state() -> None:
    near = many()
    near.plane.detach_tun()
    near.device.freeze()
    text = io.StringIO()
    print(near.device.carried(), file=text)
    assert clamped(1).hex() not in text.getvalue()
    assert str(clamped(1)) not in text.getvalue()
