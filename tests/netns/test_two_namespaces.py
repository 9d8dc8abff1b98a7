"""One name for interfaces of two network namespaces: each has its own daemon, file, state, rules and end.

The folder of sockets, in which `wg` looks, is one for all namespaces, and so is the folder of what is remembered.
"""

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel.namespace import Namespace
from bench.tunnel.site import UAPI_DIR, poll
from pywg.errors import DeviceError
from pywg.manage import client
from pywg.manage.tunnel import state as states
from pywg.runtime.base.in_use import daemon_of, own_folder

from .dropin import daemon_pids
from .machine import Machine
from .quick_files import BOTH, ONE, TWO, peer

HOOKS = (
    "PostUp = wg set %i listen-port {port}; echo $(wg show interfaces) $(wg show %i listen-port) >> LOG\n"
    "PreDown = wg show %i listen-port >> LOG\nPostDown = wg show interfaces >> LOG\n"
)


@pytest.fixture
def there(here: Machine, tmp_path: Path) -> Iterator[Machine]:
    """Another namespace on the same machine, with a file for the same name."""
    tmp_path.chmod(0o700)
    namespace = Namespace(f"pywg-{os.getpid()}-{secrets.token_hex(3)}b")
    namespace.create()
    one = Machine(namespace, here.interface, tmp_path)
    yield one
    one.clear()
    namespace.remove()


def _text(key: str, port: int, address: str) -> str:
    private = subprocess.run(["wg", "genkey"], capture_output=True, text=True, check=True).stdout.strip()
    head = f"[Interface]\nPrivateKey = {private}\nAddress = {address}\n{HOOKS.format(port=port)}"
    return head + peer(key, BOTH)


def _seen(one: Machine) -> str:
    """What there is: the daemon's port, addresses, routes, rules and filters."""
    with one.namespace.entered():
        port = client.get(one.interface).listen_port
        assert daemon_of(one.interface)
    return f"port {port}\n{_network(one)}"


def _network(one: Machine) -> str:
    shown = "ip -o -4 address; for f in -4 -6; do ip $f route show table all; ip $f rule; done; nft list ruleset"
    one.settle()
    return one.namespace.run("sh", "-c", shown)


def test_both_are_up(here: Machine, there: Machine, pywg: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The later one has its socket in its namespace's folder, whichever of the two that is."""
    before = _network(here), _network(there)
    here.write(_text(ONE, 1001, "10.70.0.1/24"))
    there.write(_text(TWO, 1002, "10.71.0.1/24"))
    for one, port in ((here, 1001), (there, 1002)):
        one.up()
        assert ("`wg` does not reach this" in capsys.readouterr().err) == (one is there)
        assert ("`wg` does not reach this" in one.namespace.run(pywg, "status", "--interval", "0")) == (one is there)
        told = one.logged()[0].split()
        assert (one.interface in told, told[-1]) == (True, str(port)), "its hook has seen its own"
        with pytest.raises(DeviceError, match=r"is in use: .*PID"):
            one.up()
        assert one.namespace.run(pywg, "show", one.interface, "listen-port") == f"{port}\n"
        assert f"port {port}\n" in _seen(one)
    with there.namespace.entered():
        folder = Path(own_folder())
    assert [file.name for file in folder.iterdir() if file.suffix == ".sock"] == [there.socket.name]
    assert len(list(Path(states.DIRECTORY).glob("*.json"))) == 2
    for one, other, key in ((here, there, ONE), (there, here, TWO)):
        stays = _seen(other)
        one.write(one.path.read_text().replace(BOTH, f"{BOTH}, 10.99.0.0/16"))
        assert f"+ peer {key} allowed-ips 10.99.0.0/16" in one.reload()
        assert _seen(other) == stays
    stays = _seen(here)
    there.down()
    assert there.logged()[0] == "1002", "the port, as its PreDown has seen it"
    assert _seen(here) == stays
    assert not folder.exists()
    with pytest.raises(DeviceError, match="is not in this network namespace"):
        there.down()
    there.up()
    stays = _seen(there)
    here.down()
    assert here.logged()[0] == "1001"
    assert _seen(there) == stays
    there.down()
    for one in (here, there):
        one.namespace.run("sysctl", "-q", "net.ipv4.conf.all.src_valid_mark=0")
    assert (_network(here), _network(there)) == before
    assert not folder.exists()
    here.nothing_runs()
    there.nothing_runs()


def test_what_is_left_of_another_namespace(here: Machine, there: Machine) -> None:
    """Of an interface whose daemon was killed there: name servers are every namespace's, rules are not."""
    here.resolv_conf.write_text("nameserver 192.0.2.53\n")
    there.write(_text(TWO, 1002, "10.71.0.1/24").replace("[Peer]", "[Interface]\nDNS = 10.71.0.53\n[Peer]", 1))
    here.write(_text(ONE, 1001, "10.70.0.1/24"))
    program = here.folder / "bin" / "resolvconf"
    kept = program.read_text()
    program.unlink()
    try:
        there.up()
        assert "10.71.0.53" in here.resolv_conf.read_text()
        here.up()
        assert "10.71.0.53" in here.resolv_conf.read_text(), "it is in use"
        here.down()
        (pid,) = daemon_pids(there.namespace)
        os.kill(pid, signal.SIGKILL)
        poll(lambda: daemon_of(there.interface) is None, "it is dead")
        here.up()
        assert here.resolv_conf.read_text() == "nameserver 192.0.2.53\n"
        here.down()
        there.up()
        there.down()
    finally:
        program.write_text(kept)
        program.chmod(0o755)
        here.resolv_conf.unlink()
    here.nothing_runs()
    assert list(UAPI_DIR.glob(f"netns-*/{here.interface}.sock")) == []
