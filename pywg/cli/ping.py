"""`pywg ping`: round trips through the tunnel, and the MTU that fits."""

import argparse
import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from pywg.cli.parser import CommandParser, interface_name
from pywg.errors import DeviceError

if TYPE_CHECKING:
    from pywg.manage.ping.echo import Reply
    from pywg.manage.ping.peers import Chosen
    from pywg.manage.ping.rounds import Trips

DESCRIPTION = """\
Pings a peer through the tunnel. WHO is its name in the file of the interface
(`# Name = berlin`), the beginning of its public key, an address that is routed
to it, or an interface with one peer. Without an address, the first of the hosts
in its allowed IPs that answers is taken.
"""
_EPILOG = """\
With --mtu: finds the largest packet that comes back, by full-size packets that
are never cut, and says which MTU to set.

Exit status: 0 answered; 1 no answer; 2 usage.
"""
_FIRST_S = 6.0
"""Seconds that the first answer may take: a handshake comes before it, and its retry."""
_SMALLEST = {4: 576, 6: 1280}
_DATA_LEN = 56


def define(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument("who", metavar="WHO", help="a peer's name, key or address, or an interface")
    parser.add_argument(
        "-c", "--count", metavar="N", type=_number(0, 1 << 30), default=4, help="pings; 0: until Ctrl-C"
    )
    parser.add_argument("-i", "--interval", metavar="SECONDS", type=_seconds, default=1.0, help="between two pings")
    parser.add_argument("-s", "--size", metavar="N", type=_number(8, 65000), default=_DATA_LEN, help="bytes of data")
    parser.add_argument(
        "-I", "--interface", metavar="IFACE", type=interface_name, help="the interface that has the peer"
    )
    parser.add_argument("--mtu", action="store_true", help="find the largest packet that fits")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(execute=ping)


def _number(least: int, most: int) -> Any:
    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"a number in {least}..{most} is wanted")
        return int(text)

    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.01 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("a number of seconds in 0.01..3600 is wanted")
    return seconds


def ping(given: argparse.Namespace) -> int:
    """Pings, prints, and returns the exit status. Raises DeviceError when there is no such peer."""
    from pywg.manage.ping.peers import choose

    chosen = choose(given.who, interface=given.interface or "")
    if not chosen.addresses:
        raise DeviceError(
            0, f"{chosen.name} has no host in its allowed IPs: ping an address, as in `pywg ping ADDRESS`"
        )
    ip = _first_that_answers(chosen)
    found: dict[str, Any] = {
        "interface": chosen.interface,
        "peer": chosen.name,
        **_addresses(ip or chosen.addresses[0]),
    }
    status = _mtu(given, chosen, ip, found) if given.mtu else _trips(given, chosen, ip or chosen.addresses[0], found)
    if given.json:
        print(json.dumps(found, indent=2))
    return status


def _addresses(ip: bytes) -> dict[str, str]:
    from pywg.config.addresses import format_ip

    return {"address": format_ip(ip)}


def _first_that_answers(chosen: "Chosen") -> bytes | None:
    """The first address that answers a ping; None when none does. One that was given is not tried before."""
    import select

    from pywg.manage.ping.echo import SMALLEST, Echo

    with contextlib.ExitStack() as stack:
        echoes: dict[Echo, bytes] = {}
        for ip in chosen.addresses:
            with contextlib.suppress(DeviceError):
                echoes[stack.enter_context(Echo(ip, interface=chosen.interface))] = ip
        if not echoes:
            with Echo(chosen.addresses[0], interface=chosen.interface):
                return None  # raises why there is no socket
        sequence, until = 0, time.monotonic() + _FIRST_S
        while (now := time.monotonic()) < until:
            sequence += 1
            for echo in echoes:
                echo.send(sequence, SMALLEST)
            again = now + 0.5
            while (left := again - time.monotonic()) > 0:
                for echo in select.select(list(echoes), [], [], left)[0]:
                    reply = echo.receive(0)
                    if reply is not None and not reply.fault:
                        return echoes[echo]
    return None


def _trips(given: argparse.Namespace, chosen: "Chosen", ip: bytes, found: dict[str, Any]) -> int:
    from pywg.manage.ping.echo import Echo
    from pywg.manage.ping.rounds import Trips, run

    trips = Trips()

    def told(sequence: int, reply: "Reply | None") -> None:
        if reply is not None and not given.json:
            what = f"{reply.seconds * 1000:.3f} ms" if not reply.fault else reply.fault
            print(f"{f'{sequence:>4}' if sequence > 0 else '   -'}  {what}", flush=True)

    if not given.json:
        print(f"{chosen.name} through {chosen.interface}: {found['address']}, {given.size} bytes of data", flush=True)
    with Echo(ip, interface=chosen.interface) as echo, contextlib.suppress(KeyboardInterrupt):
        run(echo, trips, count=given.count, interval_s=given.interval, data_len=given.size, told=told)
    figures, age = trips.figures(), _handshake_age(chosen)
    found |= {
        "sent": trips.sent,
        "received": len(trips.seconds),
        "loss": round(trips.lost, 4),
        "milliseconds": figures or None,
        "handshake_age_seconds": None if age is None else round(age, 3),
    }
    if not given.json:
        _print_summary(trips, figures, age)
    return 0 if trips.seconds else 1


def _print_summary(trips: "Trips", figures: dict[str, float], age: float | None) -> None:
    print(f"{trips.sent} sent, {len(trips.seconds)} answered, {trips.lost * 100:.0f} % lost")
    if figures:
        print("round trip " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()) + " ms")
    print("no handshake yet" if age is None else f"handshake {age:.0f} s ago")
    if not figures:
        print("for the cause: pywg doctor")


def _handshake_age(chosen: "Chosen") -> float | None:
    from pywg.manage.client import watch

    with contextlib.suppress(DeviceError):
        status, _ = watch(chosen.interface)
        status.private_key = None
        for peer in status.peers:
            if peer.public_key == chosen.peer.public_key and peer.last_handshake_ns:
                return max(time.time() - peer.last_handshake_ns / 1e9, 0.0)
    return None


def _mtu(given: argparse.Namespace, chosen: "Chosen", ip: bytes | None, found: dict[str, Any]) -> int:
    from pywg.manage.ping.echo import SMALLEST, Echo
    from pywg.manage.ping.rounds import largest_packet

    found |= {"interface_mtu": None, "largest": None, "mtu": None}
    if ip is None:
        return _no_answer(given, chosen)
    mtu = _interface_mtu(chosen.interface)
    found["interface_mtu"] = mtu
    with Echo(ip, interface=chosen.interface, whole=True) as echo:
        echo.send(0, SMALLEST)
        reply = echo.receive(_FIRST_S)
        rtt = reply.seconds if reply is not None and not reply.fault else 1.0
        largest = largest_packet(echo, min(_SMALLEST[echo.version], mtu), mtu, rtt)
    uncut = _uncut(chosen)
    fits = min(largest, uncut) if uncut else largest
    found |= {"largest": largest or None, "mtu": fits or None}
    if not given.json:
        _print_mtu(chosen, mtu, largest, uncut)
    return 0 if largest else 1


def _print_mtu(chosen: "Chosen", mtu: int, largest: int, uncut: int) -> None:
    name = chosen.interface
    if not largest:
        print(f"{chosen.name}: small pings are answered, and none of full size: pywg doctor {name}")
        return
    print(f"{chosen.name} through {name}: packets of {largest} bytes come back; the MTU of {name} is {mtu}")
    if uncut and uncut < largest:
        print(f"those above {uncut} travel in pieces, which costs speed: ip link set {name} mtu {uncut}")
    elif largest < mtu:
        print(f"larger ones are lost: ip link set {name} mtu {largest}, and MTU = {largest} in the file, at both ends")
    else:
        print("the MTU fits" + (f"; the way would take up to {uncut}" if uncut > mtu else ""))


def _uncut(chosen: "Chosen") -> int:
    """The largest packet of the tunnel whose datagram fits the way to the endpoint whole; 0: not known."""
    from pywg.manage.doctor.gather import outer_mtu

    with contextlib.suppress(DeviceError, OSError):
        return outer_mtu(chosen.interface, chosen.peer.endpoint)
    return 0


def _interface_mtu(interface: str) -> int:
    from pywg.manage.doctor.gather_network import Kernel

    kernel = Kernel()
    try:
        link = kernel.link(interface)
    finally:
        kernel.close()
    if link is None:
        raise DeviceError(0, f"{interface} is in another network namespace: run this there")
    return link.mtu


def _no_answer(given: argparse.Namespace, chosen: "Chosen") -> int:
    if not given.json:
        print(
            f"{chosen.name} does not answer through {chosen.interface}: pywg doctor {chosen.interface}", file=sys.stderr
        )
    return 1
