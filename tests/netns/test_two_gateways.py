"""docs/two-gateways.md, typed as it is written there: BIRD speaks OSPF through both tunnels, and one is lost in turn.

Two such networks at a time, pywg's and wireguard-go's: they wait for OSPF's timers, and not for processors.
"""

import functools
import secrets
from concurrent.futures import ThreadPoolExecutor

from bench.tunnel.site import poll
from tests.requirements import require_tool

from .gateways import HOSTS, ROUTERS, WIREGUARD_GO, Sites, gone

STRANGER = "192.168.77.1"
BURST = 60
LENGTH = 1000


def _burst(sites: Sites, flows: slice) -> list[int]:
    """What each gateway of Berlin carries of some full packets on these flows."""

    def send() -> None:
        for _ in range(BURST):
            sites.send(secrets.token_bytes(LENGTH), flows)

    return sites.shares(send)


def _one_way(shares: list[int]) -> bool:
    return max(shares) >= BURST * LENGTH > 2 * min(shares)


def _refuses_strangers(sites: Sites) -> None:
    gateways = [sites.machines[name] for name in ROUTERS["berlin"]]
    refused = sum(gateway.drops() for gateway in gateways)
    paris = sites.machines["paris"].namespace
    paris.run("ip", "address", "add", f"{STRANGER}/32", "dev", "lo")
    paris.run("sh", "-c", f"ping -c3 -i0.01 -W0.1 -I {STRANGER} {HOSTS['berlin']}; true")
    poll(lambda: sum(gateway.drops() for gateway in gateways) > refused, "the gateways refuse a stranger's packets")


def _goes_on(pywg: str, up: str) -> None:
    with Sites(pywg, up) as sites:
        sites.wait_for_ways(2)
        at_router, at_gateway = sites.guide.take("birdc show ospf"), sites.guide.take("birdc show ospf")
        shown = sites.machines["berlin"].type
        poll(lambda: shown(at_router).count("nexthop") == 2, "the router shows both ways")
        if not up:
            poll(lambda: "Full/PtP" in sites.machines["berlin1"].type(at_gateway), "the gateway shows its neighbour")
        assert sites.guide.left == []

        # On a machine that is too busy for BFD, a way may be gone for a moment: another burst finds both.
        poll(lambda: _one_way(_burst(sites, slice(1))), "a flow goes one way")
        poll(lambda: min(_burst(sites, slice(None))) >= BURST * LENGTH, "both ways carry flows")
        _refuses_strangers(sites)

        sites.machines["berlin1"].kill_daemon()
        poll(functools.partial(gone, sites.machines["berlin1"]), "the interface goes with its daemon")
        sites.wait_for_ways(1)
        sites.up("berlin1")
        sites.wait_for_ways(2)
        with sites.cut("paris2"):
            sites.wait_for_ways(1)
        sites.wait_for_ways(2)


def test_two_gateways(pywg: str) -> None:
    for tool in ("bird", "nft", "sysctl", "wg-quick"):
        require_tool(tool)
    with ThreadPoolExecutor(2) as both:
        for done in [both.submit(_goes_on, pywg, up) for up in ("", WIREGUARD_GO)]:
            done.result()
