"""Three ways to run under a real systemd: `pywg up`, the native unit, and wg-quick@ with the drop-in. dropin: 21."""

import pwd
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel.builds import ROOT
from bench.tunnel.command import CommandError
from bench.tunnel.lab import Lab
from bench.tunnel.site import LISTEN_PORT, poll
from tests.pages import blocks_in
from tests.requirements import require_tool

from . import dropin
from .conftest import OpenLab
from .systemd_machine import SYSTEM_UNITS, Machine

pytestmark = pytest.mark.dropin("21")

SHIPPED = ROOT / "docs" / "systemd"
WATCHDOG_S = 4
"""In the tests of the watchdog alone: the others may pause, as a busy machine does."""
CAP_NET_ADMIN, CAP_BPF = 12, 39
PATIENCE_S = 30.0


class Site:
    """A machine with the near end's configuration file, the units that serve it, and the far end to talk to."""

    def __init__(self, lab: Lab, machine: Machine) -> None:
        self.lab = lab
        self.machine = machine
        self.interface = lab.near.interface
        self.native = f"pywg@{self.interface}.service"
        self.quick = f"wg-quick@{self.interface}.service"
        self.up = f"pywg-quick@{self.interface}.service"
        self.file = f"/etc/wireguard/{self.interface}.conf"

    def configure(self, *, allowed: str = "10.78.0.0/24", more: str = "", peers: str = "") -> None:
        """Writes wg0.conf as it is for wg-quick, with `more` lines of [Interface]."""
        self.machine.write(
            self.file,
            f"[Interface]\nPrivateKey = {self.lab.near.keys.private}\nListenPort = {LISTEN_PORT}\n"
            f"Address = {self.lab.near.inner(4)}/24\n{more}"
            f"[Peer]\nPublicKey = {self.lab.far.keys.public}\nAllowedIPs = {allowed}\n"
            f"Endpoint = {self.lab.far.outer(4)}:{LISTEN_PORT}\n{peers}",
        )

    def systemctl(self, verb: str, unit: str) -> None:
        """Raises CommandError when the job fails."""
        self.machine.run("systemctl", verb, unit)

    def start_native(self) -> None:
        """Starts the native unit, does what a network manager does, and waits for traffic."""
        self.systemctl("start", self.native)
        self.lab.near.ip("address", "add", f"{self.lab.near.inner(4)}/24", "dev", self.interface)
        self.lab.near.ip("link", "set", self.interface, "up")
        self.passes_traffic()

    def passes_traffic(self) -> None:
        """Until a ping through the tunnel is answered."""
        dropin.resumes(self.lab.near, self.lab.far.inner(4))

    def watch(self) -> None:
        """Has the native unit's watchdog be impatient, from its next start on."""
        path = f"/etc/systemd/system/{self.native}.d/watchdog.conf"
        self.machine.write(path, f"[Service]\nWatchdogSec={WATCHDOG_S}\n")
        self.machine.run("systemctl", "daemon-reload")

    def link(self) -> str:
        """The interface with its index, and its addresses."""
        ip = self.lab.near.ip
        return ip("-o", "link", "show", self.interface) + ip("-o", "address", "show", self.interface)

    def left(self, unit: str) -> list[str]:
        """What there still is of a tunnel that was stopped."""
        links = self.lab.near.ip("-o", "link")
        sockets = self.machine.run("sh", "-c", "ls /run/wireguard 2>/dev/null; true").split()
        return self.machine.processes(unit) + sockets + [line for line in links.splitlines() if self.interface in line]

    def restarts(self, unit: str = "") -> int:
        """How often systemd has started a unit, by default the native one, again by itself."""
        return int(self.machine.property(unit or self.native, "NRestarts"))

    def is_back(self, restarts: int, unit: str = "") -> bool:
        """Whether the unit has been started again so often, and is up."""
        active = self.machine.property(unit or self.native, "ActiveState") == "active"
        return active and self.restarts(unit) == restarts


@pytest.fixture
def site(open_lab: OpenLab, tmp_path: Path) -> Iterator[Site]:
    require_tool("wg-quick")
    lab = open_lab(None, "pywg", connect=False)
    lab.far.configure(lab.mtu)
    lab.far.add_peer(lab.near)
    quick = tmp_path / "wg-quick@.service.d"
    quick.mkdir()
    shutil.copy(SHIPPED / "wg-quick@.service.d-pywg.conf", quick / "pywg.conf")
    impatient = tmp_path / "pywg@.service.d", tmp_path / "pywg-quick@.service.d"
    for folder, more in zip(impatient, ("", "[Unit]\nStartLimitBurst=2\n"), strict=True):
        folder.mkdir()
        (folder / "impatient.conf").write_text(f"[Service]\nRestartSec=100ms\n{more}")
    shipped = SHIPPED / "pywg@.service", SHIPPED / "pywg.service", SHIPPED / "pywg-quick@.service"
    units = (*shipped, SYSTEM_UNITS / "systemd-networkd.service", SYSTEM_UNITS / "wg-quick@.service", quick, *impatient)
    with Machine(lab.near.namespace, tmp_path, units) as machine:
        site = Site(lab, machine)
        site.configure()
        yield site


def test_native_unit(site: Site) -> None:
    """Start, traffic, confinement, restart without losing the interface, stop."""
    machine = site.machine
    site.start_native()
    for name in ("no_new_privs", "capabilities", "root", "seccomp"):
        assert f"sandbox_{name}=1\n" in machine.run("pywg", "stats", site.interface)
    told = f"{site.interface} is up, MTU 1420"
    poll(lambda: machine.property(site.native, "StatusText") == told, "the status says up")
    before = site.link()
    began = time.monotonic()
    site.systemctl("restart", site.native)
    site.passes_traffic()
    print(f"systemctl restart: traffic after {time.monotonic() - began:.2f} s (promised: 2)")
    assert site.link() == before
    assert machine.processes(site.native) == ["pywg"]
    site.systemctl("stop", site.native)
    poll(lambda: site.left(site.native) == [], "nothing is left")
    assert machine.property(site.native, "Result") == "success"
    assert "internal error" not in machine.journal(site.native)
    site.start_native()


def test_native_unit_with_a_user_of_its_own(site: Site) -> None:
    """As the README has it: it comes, restarts with its interface and goes as ever."""
    machine = site.machine
    user = (SHIPPED / "pywg@.service.d-user.conf").read_text()
    machine.write(f"/etc/systemd/system/{site.native}.d/user.conf", user.replace("=pywg\n", "=nobody\n"))
    machine.run("systemctl", "daemon-reload")
    site.start_native()
    shown = machine.run("pywg", "stats", site.interface)
    for line in ("sandbox_root=1", "sandbox_seccomp=1", f"sandbox_user={pwd.getpwnam('nobody').pw_uid}"):
        assert f"{line}\n" in shown
    poll(lambda: sorted(machine.processes(site.native)) == ["pywg", "pywg-remover"], "both have their names")
    before = site.link()
    site.systemctl("restart", site.native)
    site.passes_traffic()
    assert site.link() == before
    site.machine.signal(site.native, signal.SIGKILL)
    poll(lambda: site.is_back(1), "systemd has started it again", PATIENCE_S)
    site.passes_traffic()
    assert site.link() == before
    site.systemctl("stop", site.native)
    poll(lambda: site.left(site.native) == [], "nothing is left")
    assert machine.property(site.native, "Result") == "success"
    assert "internal error" not in machine.journal(site.native)


def test_native_unit_with_shards(site: Site) -> None:
    """As the README has it; CAP_BPF is gone once it is ready. Without what the drop-in allows beside the variable, the
    kernel takes no program: the control. A restart keeps the interface, and the number of its queues."""
    machine, unit = site.machine, site.native
    page = (SHIPPED / "README.md").read_text()
    (block,) = (text for text in blocks_in(page) if "d-shards.conf" in text)
    install, *then = block.replace("pywg@wg0", unit.removesuffix(".service")).strip().splitlines()
    drop_in = (SHIPPED / "pywg@.service.d-shards.conf").read_text()
    (variable,) = re.findall(r"^Environment=.*$", drop_in, re.M)

    def shards() -> tuple[str, str]:
        stats = dict(line.split("=", 1) for line in machine.run("pywg", "stats", site.interface).splitlines())
        assert (stats["sandbox_capabilities"], stats["sandbox_seccomp"], stats["sandbox_refused"]) == ("1", "1", "0")
        status = machine.run("cat", f"/proc/{machine.property(unit, 'MainPID')}/status")
        sets = {name: int(bits, 16) for name, bits in re.findall(r"^(Cap\w+):\t(\w+)$", status, re.M)}
        assert sets["CapEff"] >> CAP_NET_ADMIN & 1
        assert not any(bits >> CAP_BPF & 1 for bits in sets.values())
        return stats["shards"], stats["tun_steering"]

    site.start_native()
    machine.write(install.split()[-1], f"[Service]\n{variable}\n")
    machine.run("systemctl", "daemon-reload")
    site.systemctl("restart", unit)
    site.passes_traffic()
    assert shards() == ("1", "0"), "the interface was made with one queue"
    site.systemctl("stop", unit)
    poll(lambda: site.left(unit) == [], "nothing is left")
    site.start_native()
    assert shards() == ("2", "0")
    machine.write(install.split()[-1], drop_in)
    assert then.pop() == f"systemctl start {unit.removesuffix('.service')}"
    for command in then:
        machine.run("sh", "-ec", command)
    site.start_native()
    assert shards() == ("2", "1")
    before = site.link()
    site.systemctl("restart", unit)
    site.passes_traffic()
    assert (site.link(), shards()) == (before, ("2", "1"))


def test_a_reload_of_the_native_unit_replaces_its_daemon(site: Site) -> None:
    """By `systemctl reload`, then by hand: the same session and interface; another main process, with signs of life."""
    machine, unit = site.machine, site.native
    site.watch()
    site.start_native()
    before = site.link(), machine.run("wg", "show", site.interface, "latest-handshakes")
    mains = [machine.property(unit, "MainPID")]
    for replace in (("systemctl", "reload", unit), ("pywg", "upgrade", site.interface), ("systemctl", "reload", unit)):
        machine.run(*replace)
        poll(lambda: machine.processes(unit) == ["pywg"], "the old daemon has ended", PATIENCE_S)
        mains.append(machine.property(unit, "MainPID"))
        assert mains[-1] not in ("0", *mains[:-1])
        site.passes_traffic()
        assert (site.link(), machine.run("wg", "show", site.interface, "latest-handshakes")) == before
        assert "sandbox_seccomp=1\n" in machine.run("pywg", "stats", site.interface)
    signs = set()

    def sign_of_life() -> bool:
        signs.add(machine.property(unit, "WatchdogTimestampMonotonic"))
        return len(signs) > 3

    poll(sign_of_life, "three signs of life", PATIENCE_S, every_s=0.1)
    assert (machine.property(unit, "ActiveState"), site.restarts()) == ("active", 0)
    site.systemctl("stop", unit)
    poll(lambda: site.left(unit) == [], "nothing is left")
    assert machine.property(unit, "Result") == "success"
    assert "internal error" not in machine.journal(unit)


def test_the_unit_for_several_interfaces(site: Site) -> None:
    """As the page has it, addresses by systemd-networkd: one process, which a reload replaces, and all goes with it."""
    machine, interface, unit = site.machine, site.interface, "pywg.service"
    other, address = f"{interface}b", f"{site.lab.near.inner(4)}/24"
    page = blocks_in((SHIPPED / "README.md").read_text())
    (network,) = (block for block in page if block.startswith("[Match]"))
    (several,) = (block for block in page if "INTERFACES=" in block)
    machine.write("/etc/systemd/network/wg0.network", network.replace("wg0", interface).replace("10.0.0.1/24", address))
    machine.run("sh", "-ec", "chmod 755 /etc/systemd/network; chmod 644 /etc/systemd/network/*; mkdir /etc/default")
    machine.run("systemctl", "start", "systemd-networkd")
    machine.run("sh", "-ec", several.replace("wg0 wg1", f"{interface} {other}"))
    site.passes_traffic()
    routes = ("route", "show", "dev", interface)
    poll(lambda: "192.168.7.0/24" in site.lab.near.ip(*routes), "the network manager has done all")
    assert "mtu 1420" in site.link()
    mains = [machine.property(unit, "MainPID")]
    shown = [machine.run("wg", "show", interface, "latest-handshakes")]
    machine.run("systemctl", "reload", unit)
    poll(lambda: machine.processes(unit) == ["pywg"], "the old daemon has ended", PATIENCE_S)
    site.passes_traffic()
    mains.append(machine.property(unit, "MainPID"))
    shown.append(machine.run("wg", "show", interface, "latest-handshakes"))
    assert mains[0] != mains[1]
    assert shown[0] == shown[1]
    assert set(machine.run("wg", "show", "interfaces").split()) == {interface, other}
    site.systemctl("stop", unit)
    poll(lambda: site.left(unit) == [], "nothing is left")
    assert machine.property(unit, "Result") == "success"


def test_native_unit_that_crashes_after_a_reload(site: Site) -> None:
    """The service manager has the interface still, and starts the daemon on it."""
    site.start_native()
    before = site.link()
    site.systemctl("reload", site.native)
    site.machine.signal(site.native, signal.SIGKILL)
    poll(lambda: site.is_back(1), "systemd has started it again", PATIENCE_S)
    site.passes_traffic()
    assert site.link() == before


def test_native_unit_after_a_crash(site: Site) -> None:
    site.start_native()
    before = site.link()
    site.machine.signal(site.native, signal.SIGKILL)
    poll(lambda: site.is_back(1), "systemd has started it again", PATIENCE_S)
    site.passes_traffic()
    assert site.link() == before


def test_native_unit_that_hangs(site: Site) -> None:
    """The signs of life arrive, for longer than the watchdog waits; without them it is started again."""
    machine = site.machine
    site.watch()
    site.start_native()
    signs = set()

    def sign_of_life() -> bool:
        signs.add(machine.property(site.native, "WatchdogTimestampMonotonic"))
        return len(signs) > 3  # each comes after half of the watchdog's time

    poll(sign_of_life, "three signs of life", PATIENCE_S, every_s=0.1)
    assert site.restarts() == 0
    machine.signal(site.native, signal.SIGSTOP)
    poll(lambda: site.is_back(1), "the watchdog has ended it", PATIENCE_S)
    assert "Watchdog timeout" in machine.journal(site.native)
    site.passes_traffic()


def test_native_unit_with_a_bad_configuration(site: Site) -> None:
    machine = site.machine
    site.configure(allowed="10.78.0.0/33")
    with pytest.raises(CommandError, match="failed"):
        site.systemctl("start", site.native)
    poll(lambda: machine.property(site.native, "ActiveState") == "failed", "a failed unit", PATIENCE_S)
    assert "10.78.0.0/33" in machine.journal(site.native)
    poll(lambda: site.left(site.native) == [], "nothing is left")


def test_native_unit_with_an_unreadable_configuration(site: Site) -> None:
    """It has no right to read another user's file, and must not start without keys and peers."""
    site.machine.run("chown", "65534", site.file)
    with pytest.raises(CommandError, match="failed"):
        site.systemctl("start", site.native)
    assert f"{site.file}: Permission denied" in site.machine.journal(site.native)


def test_wg_quick(site: Site) -> None:
    """start, reload, restart and stop of the distribution's unit."""
    machine = site.machine
    site.systemctl("start", site.quick)
    site.passes_traffic()
    assert machine.processes(site.quick) == ["pywg"]
    (other,) = dropin.public_keys(1)
    machine.run("wg", "set", site.interface, "peer", other)
    site.systemctl("reload", site.quick)
    assert machine.run("wg", "show", site.interface, "peers").split() == [site.lab.far.keys.public]
    began = time.monotonic()
    site.systemctl("restart", site.quick)
    site.passes_traffic()
    print(f"systemctl restart: traffic after {time.monotonic() - began:.2f} s")
    site.systemctl("stop", site.quick)
    poll(lambda: site.left(site.quick) == [], "nothing is left")
    assert machine.property(site.quick, "Result") == "success"


def test_wg_quick_with_a_bad_configuration(site: Site) -> None:
    site.configure(allowed="10.78.0.0/33")
    with pytest.raises(CommandError, match="failed"):
        site.systemctl("start", site.quick)
    assert site.machine.property(site.quick, "ActiveState") == "failed"
    assert "10.78.0.0/33" in site.machine.journal(site.quick)
    poll(lambda: site.left(site.quick) == [], "nothing is left")


HOOKS = "PostUp = echo up >>/tmp/hooks\nPostDown = echo down >>/tmp/hooks\n"


def test_up_unit(site: Site) -> None:
    """Start, reload without a break, restart and stop; the daemon is the unit's main process."""
    machine, (other,) = site.machine, dropin.public_keys(1)
    site.configure(more=HOOKS)
    site.systemctl("start", site.up)
    site.passes_traffic()
    main = machine.property(site.up, "MainPID")
    assert machine.run("cat", f"/proc/{main}/comm") == "pywg\n"
    poll(lambda: machine.processes(site.up) == ["pywg"], "`pywg up` has ended")
    handshake = machine.run("wg", "show", site.interface, "latest-handshakes")
    site.configure(more=HOOKS, peers=f"[Peer]\nPublicKey = {other}\n")
    site.systemctl("reload", site.up)
    assert handshake in machine.run("wg", "show", site.interface, "latest-handshakes")
    assert other in machine.run("wg", "show", site.interface, "peers")
    assert machine.property(site.up, "MainPID") == main
    site.systemctl("restart", site.up)
    site.passes_traffic()
    assert machine.property(site.up, "MainPID") not in ("0", main)
    site.systemctl("stop", site.up)
    poll(lambda: site.left(site.up) == [], "nothing is left")
    assert machine.property(site.up, "Result") == "success"
    assert machine.run("cat", "/tmp/hooks").split() == ["up", "down", "up", "down"]


def test_the_daemon_of_an_up_unit_is_replaced(site: Site) -> None:
    """By hand, from outside of the unit: it is the unit's main process then, and no hook runs."""
    machine = site.machine
    site.configure(more=HOOKS)
    site.systemctl("start", site.up)
    site.passes_traffic()
    before = site.link(), machine.run("wg", "show", site.interface, "latest-handshakes")
    main = machine.property(site.up, "MainPID")
    machine.run("pywg", "upgrade", site.interface)
    poll(lambda: machine.property(site.up, "MainPID") not in ("0", main), "the unit has another main process")
    poll(lambda: machine.processes(site.up) == ["pywg"], "the old daemon has ended")
    site.passes_traffic()
    assert (site.link(), machine.run("wg", "show", site.interface, "latest-handshakes")) == before
    site.configure(more=HOOKS)
    site.systemctl("reload", site.up)
    assert machine.property(site.up, "ActiveState") == "active"
    assert machine.run("cat", "/tmp/hooks").split() == ["up"]
    site.systemctl("stop", site.up)
    poll(lambda: site.left(site.up) == [], "nothing is left")
    assert machine.property(site.up, "Result") == "success"
    assert machine.run("cat", "/tmp/hooks").split() == ["up", "down"]


def test_up_unit_after_a_crash(site: Site) -> None:
    """It comes back as the file says, its hooks in pairs; what the operator takes down stays down."""
    machine = site.machine
    site.configure(more=HOOKS, allowed="10.78.0.0/24, 10.99.0.0/16")
    site.systemctl("start", site.up)
    site.passes_traffic()
    addresses = site.lab.near.ip("-4", "address", "show", "dev", site.interface)
    routes = site.lab.near.ip("route", "show", "dev", site.interface)
    assert "10.99.0.0/16" in routes
    machine.signal(site.up, signal.SIGKILL)
    poll(lambda: site.is_back(1, site.up), "systemd has started it again", PATIENCE_S)
    site.passes_traffic()
    assert site.lab.near.ip("route", "show", "dev", site.interface) == routes
    again = site.lab.near.ip("-4", "address", "show", "dev", site.interface)
    assert again.partition(":")[2] == addresses.partition(":")[2]  # of another index
    assert machine.run("cat", "/tmp/hooks").split() == ["up", "down", "up"]
    machine.run("pywg", "down", site.interface)
    poll(lambda: machine.property(site.up, "ActiveState") == "inactive", "the unit has ended", PATIENCE_S)
    assert machine.property(site.up, "Result") == "success"
    poll(lambda: site.left(site.up) == [], "nothing is left")
    assert machine.run("cat", "/tmp/hooks").split() == ["up", "down", "up", "down"]


def test_up_unit_with_a_bad_configuration(site: Site) -> None:
    site.configure(allowed="10.78.0.0/33")
    with pytest.raises(CommandError, match="failed"):
        site.systemctl("start", site.up)
    poll(lambda: site.machine.property(site.up, "ActiveState") == "failed", "a failed unit", PATIENCE_S)
    assert f"{site.file}:7:" in site.machine.journal(site.up)
    poll(lambda: site.left(site.up) == [], "nothing is left")
