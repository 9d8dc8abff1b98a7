"""The bare forwarder carries what it is given: a bound that loses or damages bytes would bound nothing."""

from typing import Any

import pytest

from bench.tunnel import transfer
from bench.tunnel.implementations import build
from bench.tunnel.inside import JUMBO
from bench.tunnel.lab import Lab
from tests.aead import HERE
from tests.requirements import require_root, require_tool


@pytest.mark.netns
@pytest.mark.parametrize("name", ["forwarder", "forwarder-cuts", *(["forwarder-seals"] if "avx2" in HERE else [])])
@pytest.mark.parametrize(
    "mtus", [{}, JUMBO, {"mtu": 3000, "link_mtu": 3080}], ids=lambda mtus: str(mtus.get("mtu", ""))
)
def test_bytes_arrive_as_they_were_sent_both_ways(name: str, mtus: dict[str, Any]) -> None:
    require_root()
    require_tool("cc")
    forwarder = build(name)
    with Lab(forwarder, forwarder, **mtus) as lab:
        lab.establish()
        before = lab.far.transferred()
        transfer.exchange(lab.near.namespace, lab.far.namespace, lab.far.inner(4), 3_000_000)
        received, sent = (now - was for now, was in zip(lab.far.transferred(), before, strict=True))
    assert min(received, sent) >= 3_000_000
