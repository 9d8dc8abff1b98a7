"""The bare forwarder carries what it is given: a bound that loses or damages bytes would bound nothing."""

import pytest

from bench.tunnel import transfer
from bench.tunnel.implementations import build
from bench.tunnel.lab import Lab
from tests.requirements import require_root, require_tool


@pytest.mark.netns
@pytest.mark.parametrize("name", ["forwarder", "forwarder-cuts", "forwarder-seals"])
def test_bytes_arrive_as_they_were_sent_both_ways(name: str) -> None:
    require_root()
    require_tool("cc")
    forwarder = build(name)
    with Lab(forwarder, forwarder) as lab:
        lab.establish()
        before = lab.far.transferred()
        transfer.exchange(lab.near.namespace, lab.far.namespace, lab.far.inner(4), 3_000_000)
        received, sent = (now - was for now, was in zip(lab.far.transferred(), before, strict=True))
    assert min(received, sent) >= 3_000_000
