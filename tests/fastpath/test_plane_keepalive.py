"""A keepalive that nothing asked for but the configuration."""

from pywg._fastpath import HANDSHAKE_WANTED
from tests.fastpath.plane_harness import Far, PlaneHarness


def test_keepalive_without_a_session_asks_for_a_handshake() -> None:
    """The kernel's wg_packet_send_keepalive: else a persistent keepalive would never open a session by itself."""
    with PlaneHarness() as harness:
        far = Far(harness, session=False)
        assert not harness.plane.send_keepalive(1)
        harness.heard(1, HANDSHAKE_WANTED)
        assert far.is_silent()
