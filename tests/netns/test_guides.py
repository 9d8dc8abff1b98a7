"""The guides in docs/, typed as they are written there, at two routers with a network behind each."""

import functools
import re
from pathlib import Path

from bench.tunnel.builds import ROOT
from bench.tunnel.site import poll
from tests.pages import blocks_in
from tests.requirements import require_tool

from .test_init import NAMES, Place, commands_of, places, write
from .test_readme import BEHIND, OTHER, ends

__all__ = ["places"]

TWO_SITES = "two-sites"
GUIDES = (TWO_SITES, "kernel-or-pywg", "replacing-wireguard-go", "fast-links", "troubleshooting", "upgrading")
WARNINGS = "3"
"""doctor's exit status where something could be better: a clock that no service keeps, small socket buffers."""


class Guides:
    """Blocks of what is to be typed, and which of them have been."""

    def __init__(self) -> None:
        self.left = {name: blocks_in((ROOT / f"docs/{name}.md").read_text()) for name in GUIDES}

    def take(self, name: str, beginning: str) -> str:
        """The block of a guide that begins so."""
        (block,) = [block for block in self.left[name] if block.startswith(beginning)]
        self.left[name].remove(block)
        return block


def _forgiving(command: str) -> str:
    return re.sub(r"(pywg doctor \S+)", rf"\1 || test $? = {WARNINGS}", command)


def test_every_block_of_the_guides(places: dict[str, Place], pywg: str, tmp_path: Path) -> None:
    require_tool("wg-quick")
    guides = Guides()
    printed = write(guides.take(TWO_SITES, "pywg init"), tmp_path, pywg)
    at_each = guides.take(TWO_SITES, "install -D")
    for letter, place in places.items():
        assert commands_of(printed, NAMES[letter])[1:] == at_each.splitlines()
        place.router.type(f"cd {place.folder}\n{at_each}")
    for letter, place in places.items():
        other = f"{BEHIND[OTHER[letter]]}.7"
        poll(functools.partial(place.answers, place.address, other), "the hosts reach each other")
    berlin = places["A"].router
    said = berlin.type(guides.take(TWO_SITES, "pywg status"))
    assert "paris" in said
    assert "3 sent, 3 answered" in said
    assert "nothing was sent for" in berlin.type(guides.take("upgrading", "pywg upgrade"))
    assert "nothing to find fault with" in berlin.type(guides.take(TWO_SITES, "pywg check"))
    # The unit is README's, and tests/netns/test_systemd.py starts it.
    assert guides.take(TWO_SITES, "pywg down wg0\npywg systemd") in blocks_in((ROOT / "README.md").read_text())

    rules = guides.take(TWO_SITES, "install -m 644 wg0.nft")
    assert rules.endswith("\nsystemctl enable nftables")
    load = "nft flush ruleset; ! nft list table inet pywg-wg0 2>/dev/null; nft -f /etc/nftables.conf"
    berlin.type(f"cd {places['A'].folder}\n{rules.replace('systemctl enable nftables', load)}")
    assert "maxseg" in berlin.type("nft list table inet pywg-wg0")

    assert "tun type tun" in berlin.type(guides.take("kernel-or-pywg", "ip -details"))
    assert "offloads" in berlin.type(guides.take("fast-links", "pywg status"))
    berlin.type(_forgiving(guides.take("troubleshooting", "pywg doctor")))
    assert "MTU" in berlin.type(guides.take("troubleshooting", "pywg ping --mtu").replace("PEER", "paris"))

    berlin.type(guides.take("upgrading", "pywg down wg0"))
    berlin.type("pywg down wg0")
    there_again = guides.take("kernel-or-pywg", "wg-quick down")
    berlin.type(guides.take("replacing-wireguard-go", "WG_QUICK_USERSPACE_IMPLEMENTATION=pywg"))
    berlin.type(there_again)
    berlin.type("pywg down wg0; WG_QUICK_USERSPACE_IMPLEMENTATION=wireguard-go wg-quick up wg0")
    berlin.type(_forgiving(guides.take("replacing-wireguard-go", "wg-quick down")))
    poll(functools.partial(places["A"].answers, places["A"].address, places["B"].address), "they do again")
    for place in places.values():
        place.router.type("pywg down wg0")
        ends(place.router)
    assert not any(guides.left.values())
