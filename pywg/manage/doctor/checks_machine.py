"""Checks of this host, whatever tunnels it has: TUN, privileges, offloads, clock, ciphers, buffers."""

import time
from collections.abc import Iterator
from typing import Final

from pywg.manage.doctor.facts import Facts
from pywg.manage.doctor.finding import Finding, error, note, ok, warning
from pywg.runtime.base.system import SOCKET_BUFFER_LEN

_EARLIEST: Final = 1735689600.0  # 2025: no pywg is older
_LATEST: Final = 4102444800.0  # 2100
_SLACK_S: Final = 5.0
_SLOW: Final = ("evp", "libcrypto")
_SET_CLOCK: Final = "timedatectl set-ntp true (or: chronyc makestep, ntpd -gq)"
_SINCE: Final = {
    "tun_vnet_hdr": ("TUN with a virtio header", "4.14"),
    "tun_tso": ("TCP superframes from the TUN (TSO)", "4.14"),
    "tun_uso": ("UDP superframes from the TUN (USO)", "6.2"),
    "udp_segment": ("segmentation of sent UDP (GSO)", "4.18"),
    "udp_gro": ("merging of received UDP (GRO)", "5.12"),
}


def tun(facts: Facts) -> Iterator[Finding]:
    """/dev/net/tun can be opened."""
    machine = facts.machine
    if machine.tun_fault:
        fault = f"no interface can be made: {machine.tun_fault}"
        yield (error if machine.net_admin else warning)("tun", fault, machine.tun_mend)  # a user makes none anyway
    else:
        yield ok("tun", "/dev/net/tun can be opened")


def privileges(facts: Facts) -> Iterator[Finding]:
    """This process may configure networks, and so may see all."""
    if facts.machine.net_admin:
        yield ok("privileges", "this process has CAP_NET_ADMIN")
    else:
        text = "this process lacks CAP_NET_ADMIN: it could not start a tunnel, and does not see all that root does"
        yield warning("privileges", text, "run it as root: sudo pywg doctor")


def offloads(facts: Facts) -> Iterator[Finding]:
    """What the kernel can do for speed."""
    found = facts.machine.offloads
    missing = [name for name in _SINCE if found.get(name) == "no"]
    for name in missing:
        what, since = _SINCE[name]
        text = f"this kernel ({facts.machine.kernel}) lacks {what}: the tunnel works, and needs more processor time"
        yield note("offloads", text, f"use Linux {since} or newer")
    stats = facts.running.stats if facts.running is not None else {}
    off = [name for name in ("offload_udp_gro", "offload_tun_vnet_hdr", "offload_udp_gso4") if stats.get(name) == "0"]
    open_sockets = stats.get("sockets_open") == "1"
    off = [name for name in off if open_sockets or name == "offload_tun_vnet_hdr"]
    if off and not missing:
        names = ", ".join(name.removeprefix("offload_") for name in off)
        mend = "start it without --no-udp-gso, --no-udp-gro and --no-tun-offload (PYWG_UDP_GSO=0 and the like)"
        yield note("offloads", f"this kernel has all offloads, and {facts.interface} does not use: {names}", mend)
    if found and not missing and not off and all(found.get(name) == "yes" for name in _SINCE):
        yield ok("offloads", "the kernel has all offloads: GSO, GRO, TSO, USO")


def clock(facts: Facts) -> Iterator[Finding]:
    """Peers refuse initiations whose timestamp is older than one before."""
    machine, wrong = facts.machine, False
    year = time.gmtime(machine.wall).tm_year if 0 <= machine.wall < 1e11 else 0
    if not _EARLIEST <= machine.wall < _LATEST:
        wrong = True
        yield error("clock", f"the clock says {year or 'no year'}: peers refuse handshakes that look old", _SET_CLOCK)
    late = max((peer.handshake_at for peer in facts.peers), default=0.0) - machine.wall
    if late > _SLACK_S and not wrong:
        wrong = True
        text = (
            f"the clock is {_duration(late)} behind the newest handshake: it has gone back, and peers refuse new ones"
        )
        yield error("clock", text, _SET_CLOCK)
    if machine.clock_synchronized is False and not wrong:
        yield note("clock", "no time service keeps the clock: a clock that goes back stops handshakes", _SET_CLOCK)
    elif machine.clock_synchronized and not wrong:
        yield ok("clock", "the clock is kept by a time service")


def ciphers(facts: Facts) -> Iterator[Finding]:
    """The cipher is one of the batch kernels."""
    stats = facts.running.stats if facts.running is not None else {}
    used, fast = stats.get("aead", ""), facts.machine.fast_ciphers
    if used in _SLOW and fast:
        text = f"{facts.interface} encrypts with {used}, and this processor could do {', '.join(fast)}"
        yield warning("cipher", text, "start it without PYWG_AEAD, which chooses the cipher; `pywg bench` compares")
    elif fast == []:
        text = "this processor has no vector unit that pywg has a cipher for: OpenSSL's is used, some 2 Gb/s a core"
        yield note("cipher", text, "use a processor with AVX2; in a virtual machine, pass the host's on (CPU host)")
    elif used or fast:
        yield ok("cipher", f"encrypts with {used}" if used else f"can encrypt with {', '.join(fast or [])}")


def buffers(facts: Facts) -> Iterator[Finding]:
    """The daemon's sockets have the buffers that it wants. Without CAP_NET_ADMIN, sysctl bounds them."""
    stats = facts.running.stats if facts.running is not None else {}
    if stats.get("up") != "1" or stats.get("sockets_open") != "1":
        return
    for name, verb, limit in (("receive", "receives into", "rmem_max"), ("send", "sends from", "wmem_max")):
        length = stats.get(f"{name}_buffer", "")
        if length.isdecimal() and int(length) < SOCKET_BUFFER_LEN:
            what = f"{verb} {int(length) >> 10} KiB of socket buffer"
            text = f"{facts.interface} {what}, and wants {SOCKET_BUFFER_LEN >> 10}: bursts may be lost"
            again = f"ip link set {facts.interface} down; ip link set {facts.interface} up"
            yield warning("buffers", text, f"on the host: sysctl -w net.core.{limit}={SOCKET_BUFFER_LEN}; then {again}")


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
