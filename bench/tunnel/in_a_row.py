"""How long a machine with many tunnels takes to set them up: `python -m bench.tunnel.in_a_row`; root.

20 files of wg-quick with two addresses and a peer each, one `up` after the other, as a boot does it: wg-quick with
pywg, wg-quick with wireguard-go, and `pywg up`. All in turns, in a network namespace. The figures are elapsed time.
"""

import argparse
import base64
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path

from .implementations import find
from .namespace import Namespace

_FILE = """[Interface]
PrivateKey = {private}
ListenPort = {port}
Address = 10.99.{number}.1/24, fd99:{number}::1/64

[Peer]
PublicKey = {public}
AllowedIPs = 10.99.{number}.0/24, fd99:{number}::/64
"""


def main() -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.tunnel.in_a_row", description=__doc__)
    parser.add_argument("--tunnels", type=int, default=20, help="(default: 20)")
    parser.add_argument("--rounds", type=int, default=5, help="of each way (default: 5)")
    given = parser.parse_args()
    pywg = find("pywg").command[0]
    ways = {
        "wg-quick, pywg": ("env", f"WG_QUICK_USERSPACE_IMPLEMENTATION={pywg}", "wg-quick"),
        "wg-quick, wireguard-go": ("env", "WG_QUICK_USERSPACE_IMPLEMENTATION=wireguard-go", "wg-quick"),
        "pywg up": (pywg,),
    }
    took: dict[str, list[float]] = {way: [] for way in ways}
    namespace = Namespace(f"row{secrets.token_hex(3)}")
    namespace.create()
    try:
        with tempfile.TemporaryDirectory() as folder:
            files = _files(Path(folder), given.tunnels)
            for _ in range(given.rounds):
                for way, command in ways.items():
                    took[way].append(_round(namespace, command, files))
                    print(f"{way}: {took[way][-1]:.2f} s", file=sys.stderr)
    finally:
        namespace.remove()
    least = statistics.median(took["wg-quick, wireguard-go"])
    figures = {
        way: {
            "seconds": {"low": min(each), "median": statistics.median(each), "high": max(each)},
            "of wireguard-go": round(statistics.median(each) / least, 2),
        }
        for way, each in took.items()
    }
    print(json.dumps({"tunnels": given.tunnels, "rounds": given.rounds, "ways": figures}, indent=1))
    return 0


def _files(folder: Path, count: int) -> list[Path]:
    files = []
    for number in range(count):
        private, public = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
        file = folder / f"r{secrets.token_hex(3)}{number}.conf"
        file.touch(0o600)
        file.write_text(_FILE.format(private=private, public=public, port=42000 + number, number=number))
        files.append(file)
    return files


def _round(namespace: Namespace, command: tuple[str, ...], files: list[Path]) -> float:
    """Seconds until all are up. Takes all down again."""
    began = time.monotonic()
    for file in files:
        namespace.run(*command, "up", str(file))
    took = time.monotonic() - began
    for file in files:
        namespace.run(*command, "down", str(file))
    return took


if __name__ == "__main__":
    sys.exit(main())
