"""How many handshakes a second one daemon answers: real initiations over a veth to the real process.

    python -m bench.tunnel.handshakes [DAEMON]

Every initiation comes from a peer of its own, made before the clock starts; a window keeps some of them in flight,
fewer than put the daemon under load (then it would answer with cookies). A handshake counts when its response is back.
"""

import base64
import os
import socket
import sys
import time

from pywg.core.events import Activity
from pywg.core.tunnel import Tunnel
from pywg.dataplane.crypto.secret import Secret

from .command import CommandError
from .lab import Lab
from .site import LISTEN_PORT

PEERS = 3000
WINDOW = 64
RESPONSE = 2
PATIENCE_S = 5.0


def main() -> int:
    """Prints the rate; 1 when an answer does not come."""
    name = sys.argv[1] if len(sys.argv) > 1 else "pywg"
    try:
        with Lab(None, name, connect=False) as lab:
            lab.far.configure(lab.mtu)
            initiations = _prepare(lab)
            cpu_before = lab.far.usage().cpu_s
            elapsed = _exchange(lab, initiations)
            cpu_s = lab.far.usage().cpu_s - cpu_before
    except (CommandError, TimeoutError) as error:
        print(f"handshakes: {error}", file=sys.stderr)
        return 1
    print(f"{name}: {PEERS / elapsed:.0f} handshakes/s answered, {cpu_s / PEERS * 1e6:.0f} us of CPU each")
    return 0


def _prepare(lab: Lab) -> list[bytes]:
    """Makes the peers known to the daemon, and an initiation of each."""
    now = 1000.0
    public_key = base64.b64decode(lab.far.keys.public)
    initiations, known = [], []
    for _ in range(PEERS):
        tunnel = Tunnel(random=os.urandom, wall_ns=time.time_ns, activity=lambda _peer: Activity(0.0, 0.0, 0.0, 0.0))
        tunnel.set_private_key(Secret(os.urandom(32)), now)
        tunnel.up(now)
        peer = tunnel.add_peer(public_key, now)
        tunnel.handshake_wanted(peer, now)
        (datagram,) = tunnel.datagrams_to_send()
        initiations.append(datagram.data)
        assert tunnel.public_key is not None
        known.append(f"public_key={tunnel.public_key.hex()}")
    reply = lab.far.uapi("set=1\n" + "\n".join(known))
    if "errno=0" not in reply:
        raise CommandError(f"the daemon refused {PEERS} peers: {reply}")
    return initiations


def _exchange(lab: Lab, initiations: list[bytes]) -> float:
    """Seconds from the first initiation to the last response."""
    far = (lab.far.outer(4), LISTEN_PORT)
    with lab.near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE_S)
        began = time.perf_counter()
        sent = answered = 0
        while answered < len(initiations):
            while sent < len(initiations) and sent - answered < WINDOW:
                sock.sendto(initiations[sent], far)
                sent += 1
            if sock.recv(2048)[0] == RESPONSE:
                answered += 1
        return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
