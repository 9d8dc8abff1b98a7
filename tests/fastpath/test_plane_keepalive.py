"""A keepalive that nothing asked for but the configuration."""

from pywg._fastpath import HANDSHAKE_WANTED
from tests.fastpath.plane_harness import Bed, Far


def test_keepalive_without_a_session_asks_for_a_handshake() -> None:
    """The kernel's wg_packet_send_keepalive: else a persistent keepalive would never open a session by itself."""
    with Bed() as bed:
        far = Far(bed, session=False)
        assert not bed.plane.send_keepalive(1)
        bed.heard(1, HANDSHAKE_WANTED)
        assert far.is_silent()
