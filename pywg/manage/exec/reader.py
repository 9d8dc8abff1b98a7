"""The process that has the file's secrets: it tells what is no secret, and later has the daemon told the rest."""

import contextlib
import socket
from pathlib import Path

from pywg.manage import client
from pywg.manage.exec.child import FAILED
from pywg.manage.exec.plan import Plan, plan_of
from pywg.manage.network import Network
from pywg.manage.tunnel import names
from pywg.manage.tunnel.interrupt import Interrupted, Interrupts
from pywg.manage.tunnel.machine import Machine
from pywg.manage.tunnel.names import QuickFile, Target
from pywg.manage.tunnel.peers import initial, peers_of
from pywg.manage.tunnel.resolve import resolve
from pywg.runtime.base.libc import forbid_dumps

_MOST = 1 << 28
"""Bytes of a plan: a million routes take a tenth of it."""
_GO = b"go"


def read(target: Target, there: socket.socket, daemon: socket.socket) -> int:
    """Reads and resolves; then, when it is told to, configures the daemon behind that connection."""
    forbid_dumps()
    file = names.read(target)
    _require_port(file)
    peers = peers_of(file.config)
    with Interrupts() as interrupts, Network() as network:
        machine = Machine(target.interface, network, interrupts)
        try:
            endpoints = [peer.endpoint for peer in peers.values() if peer.endpoint is not None]
            addresses = resolve(endpoints, file, machine)
            interrupts.check()
        except Interrupted as stopped:
            return 128 + stopped.number
        plan = plan_of(file, peers, addresses, machine)
    there.sendall(plan.to_json().encode() + b"\n")
    if there.recv(len(_GO)) != _GO:
        return FAILED
    client.change_over(daemon, target.interface, initial(file.config, peers, addresses, None).change)
    return 0


def _require_port(file: QuickFile) -> None:
    """Raises WgQuickError for a port that only a privilege opens, which nothing of `pywg exec` has."""
    port = file.config.interface.listen_port or 0
    first = 1024
    with contextlib.suppress(OSError, ValueError):
        first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if 0 < port < first:
        text = f"pywg exec can't have a port below {first}, not even of root: remove ListenPort, or take a higher one"
        raise file.error(text, "ListenPort", str(port))


def plan_from(here: socket.socket) -> Plan | None:
    """What `read` tells on the other end; None where it has ended, and has said why."""
    with here.makefile("rb") as lines:
        line = lines.readline(_MOST)
    return Plan.from_json(line.decode()) if line.endswith(b"\n") else None


def go_on(here: socket.socket) -> None:
    """Has `read` configure the daemon."""
    here.sendall(_GO)
