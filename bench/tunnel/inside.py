"""One TCP stream of another kind through a tunnel in a lab of its own: jumbo packets, and VXLAN inside the tunnel."""

from functools import partial

from . import traffic
from .lab import Lab
from .measure import Effort, Figures, with_cpu
from .site import Site

JUMBO = {"mtu": 8920, "link_mtu": 9000}
VXLAN = "vx0"
_VXLAN_HEADERS = 50  # inner Ethernet, VXLAN, UDP, IPv4


def jumbo(lab: Lab, effort: Effort) -> Figures:
    """tcp_jumbo and cpu_jumbo_s_per_gb, in a lab made with JUMBO."""
    lab.establish()
    return _stream(lab, effort, lab.far.inner(4), "jumbo")


def vxlan(lab: Lab, effort: Effort) -> Figures:
    """tcp_vxlan and cpu_vxlan_s_per_gb: what joins the networks of two sites' machines goes through the tunnel."""
    lab.establish()
    for site, other in (lab.sites, lab.sites[::-1]):
        _join(site, other, lab.mtu - _VXLAN_HEADERS)
    return _stream(lab, effort, _address(lab.far), "vxlan")


def _stream(lab: Lab, effort: Effort, address: str, name: str) -> Figures:
    one, cpu_s = with_cpu(lab, partial(traffic.tcp, lab.near, lab.far, address, effort.tcp_s))
    return {f"tcp_{name}": one.bits_per_s, f"cpu_{name}_s_per_gb": cpu_s / (one.received_bytes / 1e9)}


def _join(site: Site, other: Site, mtu: int) -> None:
    place = ["local", site.inner(4), "remote", other.inner(4), "dstport", "4789", "dev", site.interface]
    site.ip("link", "add", VXLAN, "type", "vxlan", "id", "1", *place)
    site.ip("link", "set", VXLAN, "mtu", str(mtu), "up")
    site.ip("address", "add", f"{_address(site)}/24", "dev", VXLAN)


def _address(site: Site) -> str:
    return f"10.79.0.{site.number}"
