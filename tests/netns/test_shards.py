"""Several shards of one interface, in whole daemons behind their sandbox: queues, groups of sockets, and a handover."""

from dataclasses import replace

from bench.tunnel.implementations import find
from bench.tunnel.site import Site

from .conftest import OpenLab
from .inner_udp import Wire, payload

SHARDS = 2


def _udp_sockets(site: Site, port: int) -> int:
    return len(site.namespace.run("ss", "-Hlun", f"sport = :{port}").splitlines())


def test_sessions_go_on_over_all_queues_and_sockets(open_lab: OpenLab) -> None:
    """At the start, on another port, which is opened in the sandbox, and in the daemon that takes over."""
    pywg = find("pywg")
    sharded = replace(pywg, name="pywg-shards", command=(*pywg.command, "--shards", str(SHARDS), "--threads", "5"))
    lab = open_lab(sharded, "pywg")
    lab.establish()
    near, far = lab.sites

    def looks_right() -> None:
        stats = near.stats()
        assert (stats["shards"], stats["threads"]) == (str(SHARDS), str(2 * SHARDS))
        assert (stats["sandbox_seccomp"], stats["sandbox_refused"]) == ("1", "0")
        assert stats["tun_steering"] == "1", "kept by the interface, which a new daemon takes over"
        port = int(near.wg("show", near.interface, "listen-port"))
        assert _udp_sockets(near, port) == 2 * SHARDS
        for source, target in ((near, far), (far, near)):
            with Wire(source, target) as wire:
                wire.check([payload(size) for size in range(20)])

    looks_right()
    near.wg("set", near.interface, "listen-port", "50999")
    looks_right()
    before = near.wg("show", near.interface, "latest-handshakes")
    near.namespace.run(pywg.command[0], "upgrade", near.interface)
    assert near.daemon is not None
    assert near.daemon.wait(10) == 0
    looks_right()
    assert near.wg("show", near.interface, "latest-handshakes") == before
