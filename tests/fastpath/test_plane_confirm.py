"""The responder's first authentic packet makes its keypair the one to send with: paper section 5.4.6, noise.c."""

from pywg._fastpath import CONFIRMED, now
from tests.fastpath.plane_harness import Far, PlaneHarness, key_of, pad, raw_packet, reply, seal, unseal

NEW_LOCAL, NEW_REMOTE = 0x2222, 0xBBBB


def test_the_answer_to_the_confirming_packet_goes_out_under_the_new_key() -> None:
    """A peer that was restarted has no other key: the answer must not wait for the control plane."""
    with PlaneHarness() as harness:
        far = Far(harness)
        new_key, new_send_key = key_of("new, from the plane"), key_of("new, to the plane")
        harness.plane.install_keypair(
            1, NEW_LOCAL, NEW_REMOTE, new_key, new_send_key, initiator=False, created_at=now(), confirmed=False
        )
        harness.write(raw_packet(60))
        assert far.open().counter == 0  # not confirmed: still the old one

        far.send_datagram(seal(new_send_key, NEW_LOCAL, 0, pad(reply(1))))
        assert harness.read(1) == [reply(1)]
        harness.write(raw_packet(60))  # before anybody has drained an event
        opened = unseal(new_key, far.receive())
        assert (opened.receiver_index, opened.counter) == (NEW_REMOTE, 0)
        harness.heard(1, CONFIRMED)
        assert [index for peer, flags, index in harness.happened if flags & CONFIRMED] == [NEW_LOCAL]
