"""`pywg bench`: a measurement of what this machine does for a data plane.

It shows the AEAD's backends beside libcrypto's EVP, the offloads that the kernel gives, and the memory of a data plane.
It takes some ten seconds of a core and leaves nothing behind.
"""

import json
import os
from dataclasses import asdict
from typing import Any

from pywg import __version__
from pywg.cli.parser import CommandParser
from pywg.runtime.selfbench import ciphers, offloads
from pywg.runtime.selfbench.ciphers import BATCHES, PACKET_LENS

_OFFLOADS = {
    "tun_vnet_hdr": "TUN with a virtio header",
    "tun_tso": "TUN takes TCP superframes (TSO)",
    "tun_uso": "TUN takes UDP superframes (USO)",
    "tun_tunnels": "TUN takes VXLAN, Geneve superframes",
    "udp_segment": "UDP_SEGMENT (GSO)",
    "udp_gro": "UDP_GRO",
}


_DESCRIPTION = """\
Measures for some ten seconds what this machine does for a tunnel: how fast the
ciphers are, and which offloads the kernel has. Leaves nothing behind.
"""


def define(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = _DESCRIPTION
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(execute=lambda given: bench(as_json=given.json))


def bench(*, as_json: bool, seconds: float = 6.0) -> int:
    """Measures, prints, and returns 0. The ciphers, which take the most time, get `seconds`."""
    if not as_json:
        print(f"measuring the ciphers for about {seconds:.0f} s ...", flush=True)
    found = _measure(seconds)
    print(json.dumps(found, indent=2) if as_json else "\n".join(_lines(found)))
    return 0


def _measure(seconds: float) -> dict[str, Any]:
    given = offloads.tun_offloads() | offloads.udp_offloads()  # forks: before there is any thread
    speeds = ciphers.aead_speeds(seconds)
    threads, aead, memory = ciphers.idle_plane()
    return {
        "pywg": __version__,
        "cpu": offloads.cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": os.uname().release,
        "threads": threads,
        "memory": memory,
        "offloads": given,
        "aead": {"auto": aead, "speeds": [asdict(speed) | {"gbit_per_s": speed.gbit_per_s} for speed in speeds]},
    }


def _lines(found: dict[str, Any]) -> list[str]:
    memory = found["memory"]
    return [
        f"pywg {found['pywg']}, Linux {found['kernel']}, {found['cpu']}, {found['cpus']} CPUs",
        f"data plane: {found['threads']} threads, at most {memory['ceiling'] / (1 << 20):.1f} MiB, "
        f"{memory['per_peer'] / 1024:.1f} KiB more a peer, {memory['per_allowed_ip']} bytes an allowed IP",
        "",
        *(f"{text:<36}{found['offloads'][name]}" for name, text in _OFFLOADS.items()),
        "",
        f"AEAD: auto takes {found['aead']['auto']}",
        *(line for packet_len in PACKET_LENS for line in _table(found["aead"]["speeds"], packet_len)),
    ]


def _table(speeds: list[dict[str, Any]], packet_len: int) -> list[str]:
    """One line for each backend and operation: ns a packet, Gb/s and the multiple of EVP's speed, by size of batch."""
    lines = [
        "",
        f"{f'{packet_len}-byte packets':<24}" + "".join(f"{f'batches of {batch}':>24}" for batch in BATCHES),
        f"{'':<24}" + f"{'ns':>8}{'Gb/s':>8}{'x EVP':>8}" * len(BATCHES),
    ]
    rows: dict[tuple[str, str], str] = {}
    for one in (one for one in speeds if one["packet_len"] == packet_len):
        cell = f"{one['ns']:8.0f}{one['gbit_per_s']:8.2f}{one['against_evp']:8.2f}"
        where = one["operation"], one["backend"]
        rows[where] = rows.get(where, f"{one['operation']:<6}{one['backend']:<18}") + cell
    return lines + list(rows.values())
