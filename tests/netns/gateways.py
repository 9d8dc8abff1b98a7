"""Two sites with two gateways each, as docs/two-gateways.md has them: six machines, typed from its blocks.

Each machine is a network namespace with directories of its own. Between the routers some flows are echoed.
"""

import contextlib
import json
import os
import re
import secrets
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from bench.tunnel.builds import ROOT
from bench.tunnel.command import CommandError, run
from bench.tunnel.namespace import Namespace
from bench.tunnel.site import poll
from tests.pages import blocks_in
from tests.processes import descriptors

from .typed import Typed

PAGE = "docs/two-gateways.md"
PAIRS = {"berlin1": "paris1", "paris1": "berlin1", "berlin2": "paris2", "paris2": "berlin2"}
ROUTERS = {"berlin": ("berlin1", "berlin2"), "paris": ("paris1", "paris2")}
HOSTS = {"berlin": "192.168.1.1", "paris": "192.168.2.1"}
FLOWS = 32
PORT = 7777
RESTART = "systemctl restart bird"
_FOLDERS = {"/run/wireguard": 755, "/run/pywg": 700, "/run/bird": 755}
_FRESH = ("/etc/wireguard", "/etc/bird", "/etc/sysctl.d")
OWN = " && ".join(
    [f"mkdir -p -m {mode} {folder} && mount -t tmpfs none {folder}" for folder, mode in _FOLDERS.items()]
    + [f"mkdir -p {folder} && mount -t tmpfs none {folder}" for folder in _FRESH]
    + ["echo ready"]
)
WIREGUARD_GO = "WG_QUICK_USERSPACE_IMPLEMENTATION=wireguard-go wg-quick up wg0"
CUT = 'table inet cut { chain in { type filter hook prerouting priority -300; iifname "out" drop; }; }'


class Guide:
    """The page: its blocks, by how they begin, and the columns of its table."""

    def __init__(self) -> None:
        text = (ROOT / PAGE).read_text()
        self.left = [block for block in blocks_in(text) if "=====" not in block]
        rows = [re.split(r"\s*\|\s*", row)[1:-1] for row in re.findall(r"^\|.*\|$", text, re.M)]
        names = rows[0][1:]
        self._columns = {
            name: [name, *(row[number] for row in rows[2:] if len(row) == len(names) + 1)]
            for number, name in enumerate(names, 1)
        }

    def take(self, beginning: str) -> str:
        """The first block left that begins so."""
        block = next(one for one in self.left if one.startswith(beginning))
        self.left.remove(block)
        return block

    def at(self, name: str, text: str) -> str:
        """A text of berlin1's, as it is at another gateway, or at the router of a site."""
        own, far = (name, PAIRS[name]) if name in PAIRS else (ROUTERS[name][0], PAIRS[ROUTERS[name][0]])
        table = dict(zip(self._columns["berlin1"], self._columns[own], strict=True))
        table |= dict(zip(self._columns["paris1"], self._columns[far], strict=True))
        known = "|".join(map(re.escape, sorted(table, key=len, reverse=True)))
        return re.sub(rf"(?<![\w.])({known})(?![\w.])", lambda found: table[found[1]], text)

    def outside(self, name: str) -> str:
        """The public address of a gateway."""
        return self._columns[name][1]

    def inside(self, name: str) -> str:
        """Its address in `lan`."""
        return self._columns[name][3]


class Machine(Typed):
    """A gateway or a router."""

    def __init__(self, name: str, tag: str, pywg: str) -> None:
        super().__init__(f"gate-{tag}-{name}", pywg, OWN)
        self.name = name

    def write(self, path: str, text: str) -> None:
        """A file of the machine's."""
        self.type(f'printf "%s\\n" "$TEXT" > {path}', TEXT=text)

    def daemon(self) -> int:
        """The process that has the TUN open."""
        for pid in self.namespace.pids():
            with contextlib.suppress(OSError):
                if "/dev/net/tun" in descriptors(pid).values():
                    return pid
        raise LookupError(self.name)

    def kill_daemon(self) -> None:
        """By SIGKILL."""
        os.kill(self.daemon(), signal.SIGKILL)

    def sent(self) -> int:
        """Bytes that went into the tunnel."""
        (link,) = json.loads(self.namespace.run("ip", "-j", "-s", "link", "show", "wg0"))
        return int(link["stats64"]["tx"]["bytes"])

    def ways(self, network: str) -> int:
        """How many gateways the route to a network has."""
        (route,) = json.loads(self.namespace.run("ip", "-j", "route", "show", network)) or [{}]
        return len(route.get("nexthops", [])) or int("gateway" in route)

    def drops(self) -> int:
        """Packets that `wg0.nft` has refused of those that came out of the tunnel."""
        return sum(map(int, re.findall(r"counter packets (\d+)", self.type("nft list table inet gateway"))))


class Echo:
    """Answers the flows at a router, in a thread."""

    def __init__(self, at: Namespace, address: str) -> None:
        self._socket = at.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, PORT))
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _answer(self) -> None:
        while True:
            try:
                data, sender = self._socket.recvfrom(2048)
            except OSError:
                return
            if not data:
                return
            with contextlib.suppress(OSError):
                self._socket.sendto(data, sender)


class Sites:
    """All six, up to their routes."""

    def __init__(self, pywg: str, up: str) -> None:
        """`up` is the command that sets a tunnel up; "": the guide's."""
        tag = secrets.token_hex(3)
        self.guide = Guide()
        self.machines = {name: Machine(name, tag, pywg) for name in (*PAIRS, *ROUTERS)}
        self._up = up
        self._closing = contextlib.ExitStack()
        self.flows: list[socket.socket] = []

    def __enter__(self) -> "Sites":
        try:
            for machine in self.machines.values():
                self._closing.callback(machine.namespace.remove)
                machine.begin()
            self._link()
            self._configure()
            for site, address in HOSTS.items():
                self._closing.callback(Echo(self.machines[site].namespace, address).close)
            for _ in range(FLOWS):
                flow = self.machines["berlin"].namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self._closing.callback(flow.close)
                flow.bind((HOSTS["berlin"], 0))
                flow.setblocking(False)
                self.flows.append(flow)
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def up(self, name: str) -> None:
        """Sets the tunnel of a gateway up."""
        self.machines[name].type(self._up or "pywg up wg0")

    @contextlib.contextmanager
    def cut(self, name: str) -> Iterator[None]:
        """In the body, nothing reaches a gateway by its uplink, which itself stays up."""
        self.machines[name].type(f"echo '{CUT}' | nft -f -")
        try:
            yield
        finally:
            self.machines[name].type("nft delete table inet cut")

    def ways(self) -> tuple[int, int]:
        """How many gateways each site's router uses to the other site."""
        return self.machines["berlin"].ways("192.168.2.0/24"), self.machines["paris"].ways("192.168.1.0/24")

    def settled(self) -> bool:
        """Whether BFD watches each neighbour."""
        for machine in self.machines.values():
            states = re.findall(r" (Up|Down|Init|AdminDown) ", machine.type("birdc show bfd sessions"))
            if len(states) < 2 or set(states) != {"Up"}:
                return False
        return True

    def wait_for_ways(self, number: int) -> None:
        """Until both routers use so many, and all flows are answered."""
        poll(lambda: self.ways() == (number, number), f"both routers use {number} gateways", every_s=0.05)
        poll(self.answered, "all flows are answered")

    def answered(self) -> bool:
        """Whether each flow's datagram comes back, within half a second."""
        mark = secrets.token_bytes(8)
        self.send(mark)
        waiting = list(self.flows)
        while waiting:
            ready = select.select(waiting, [], [], 0.5)[0]
            if not ready:
                return False
            for flow in ready:
                with contextlib.suppress(OSError):
                    if flow.recv(2048) == mark:
                        waiting.remove(flow)
        return True

    def send(self, data: bytes, flows: slice = slice(None)) -> None:
        """A datagram on each flow, or on some."""
        for flow in self.flows[flows]:
            with contextlib.suppress(OSError):
                flow.sendto(data, (HOSTS["paris"], PORT))

    def shares(self, send: Callable[[], None]) -> list[int]:
        """Bytes that each gateway of Berlin put into its tunnel meanwhile."""
        gateways = [self.machines[name] for name in ROUTERS["berlin"]]
        before = [gateway.sent() for gateway in gateways]
        send()
        poll(self.answered, "all that was sent has passed")
        return [gateway.sent() - was for gateway, was in zip(gateways, before, strict=True)]

    def _link(self) -> None:
        for name, far in list(PAIRS.items())[::2]:
            ends = [self.machines[one].namespace for one in (name, far)]
            run("ip", "link", "add", "out", "netns", ends[0].name, "type", "veth", "peer", "out", "netns", ends[1].name)
            for space, own, other in ((ends[0], name, far), (ends[1], far, name)):
                here, there = self.guide.outside(own), self.guide.outside(other)
                commands = f"ip address add {here}/32 dev out; ip link set out up; ip route add {there}/32 dev out"
                space.run("sh", "-ec", f"{commands} src {here}; ip route add default dev out")
        for site, gateways in ROUTERS.items():
            router = self.machines[site].namespace
            inside = self.guide.inside(gateways[0])[:-1] + "1"
            router.run(
                "sh",
                "-ec",
                "ip link add lan type bridge; ip link set lan up;"
                "ip link add hosts type veth peer host; ip link set hosts up; ip link set host up;"
                f"ip address add {inside}/24 dev lan; ip address add {HOSTS[site]}/24 dev hosts",
            )
            for number, name in enumerate(gateways):
                space = self.machines[name].namespace
                port = f"port{number}"
                run("ip", "link", "add", "lan", "netns", space.name, "type", "veth", "peer", port, "netns", router.name)
                space.run("sh", "-ec", f"ip address add {self.guide.inside(name)}/24 dev lan; ip link set lan up")
                router.run("ip", "link", "set", port, "master", "lan", "up")

    def _configure(self) -> None:
        guide = self.guide
        keys = guide.take("(umask 077; pywg genkey")
        public = {name: self.machines[name].type(keys).strip() for name in PAIRS}
        tunnel, firewall = guide.take("[Interface]"), guide.take("table inet gateway")
        gateway, router = guide.take("router id 10.1.0.2"), guide.take("router id 10.1.0.1")
        kernel = guide.take("net.ipv4")
        at_gateway, at_router = guide.take("chmod 600"), guide.take("sysctl -p")
        assert RESTART in at_gateway
        assert RESTART in at_router

        def begin(name: str) -> None:
            machine = self.machines[name]
            machine.write("/etc/sysctl.d/90-gateway.conf", kernel)
            machine.write("/etc/bird/bird.conf", guide.at(name, gateway if name in PAIRS else router))
            if name in PAIRS:
                text = guide.at(name, tunnel.replace("KEY_OF_PARIS1", "@"))
                secret = machine.type("cat /etc/wireguard/wg0.key").strip()
                text = re.sub(r"= KEY\b", f"= {secret}", text).replace("@", public[PAIRS[name]])
                machine.write("/etc/wireguard/wg0.conf", text)
                machine.write("/etc/wireguard/wg0.nft", guide.at(name, firewall))
            commands = (at_gateway if name in PAIRS else at_router).replace(RESTART, "bird")
            machine.type(commands.replace("pywg up wg0", self._up or "pywg up wg0"))

        with ThreadPoolExecutor(len(self.machines)) as all_at_once:
            for done in [all_at_once.submit(begin, name) for name in self.machines]:
                done.result()


def gone(machine: Machine) -> bool:
    """Whether a gateway has no tunnel."""
    try:
        machine.namespace.run("ip", "link", "show", "wg0")
    except CommandError:
        return True
    return False
