"""The real wg as the oracle: we read each set it writes, it reads each get we write, a file means the same to both."""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pywg.config import uapi, wg_quick
from pywg.config.keys import format_key_base64
from pywg.config.model import AllowedIpChange, DeviceChange, DeviceStatus, PeerChange, PeerStatus
from pywg.errors import WgQuickError
from tests import at_once
from tests.config.strategies import addresses_with_length, keys, optional, ports, prefixes, u32, v4, v6
from tests.requirements import require_root, require_tool

SOCKETS = Path("/var/run/wireguard")
KEY = bytes(range(32))
OTHER_KEY = bytes(range(32, 64))


class Device:
    """A UAPI socket where a daemon's would be; it remembers what it was set to and tells what it was given."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = DeviceStatus()
        self.errno = 0
        self.requests: list[bytes] = []
        self._path = SOCKETS / f"{name}.sock"
        self._socket = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> "Device":
        SOCKETS.mkdir(mode=0o755, exist_ok=True)
        self._socket.bind(str(self._path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self._path.unlink()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as requests:
                operation = requests.readline()
                if not operation:
                    continue  # wg looks whether anybody listens
                lines = []
                while (line := requests.readline()) not in {b"\n", b""}:
                    lines.append(line)
                if operation == b"set=1\n":
                    self.requests.append(b"".join(lines))
                else:
                    connection.sendall(at_once.format_get(self.status))
                connection.sendall(uapi.format_errno(self.errno))

    def wg(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["wg", *arguments], capture_output=True, text=True, check=False)

    def change(self) -> DeviceChange:
        """The one set since the last call."""
        (request,) = self.requests
        self.requests.clear()
        return at_once.parse_set(request)


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    require_root()
    require_tool("wg")
    with Device(f"pywgt{os.getpid()}") as served:
        yield served


@pytest.fixture(autouse=True)
def _a_new_device(device: Device) -> None:
    device.status = DeviceStatus()
    device.errno = 0
    device.requests.clear()


pytestmark = pytest.mark.netns  # needs root and wg, if no namespace

with_wg = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_wg_set(device: Device, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(format_key_base64(OTHER_KEY) + "\n")
    public = format_key_base64(KEY)
    result = device.wg(
        *("set", device.name, "listen-port", "7", "fwmark", "0xca6c", "private-key", str(key_file)),
        *("peer", public, "preshared-key", str(key_file), "endpoint", "[fe80::1%lo]:9", "persistent-keepalive", "off"),
        *("allowed-ips", "10.0.0.0/8,::1"),
        *("peer", format_key_base64(OTHER_KEY), "remove"),
    )
    assert (result.returncode, result.stderr) == (0, "")
    change = device.change()
    private_key = change.private_key
    assert private_key is not None
    assert bytes(private_key)[1:31] == OTHER_KEY[1:31]
    change.private_key = None
    change.peers[0].update_only = change.peers[1].update_only = False
    assert change == DeviceChange(
        listen_port=7,
        fwmark=0xCA6C,
        peers=[
            PeerChange(
                KEY,
                preshared_key=OTHER_KEY,
                endpoint=(b"\xfe\x80" + bytes(13) + b"\1", 9, 1),
                persistent_keepalive=0,
                replace_allowed_ips=True,
                allowed_ips=[AllowedIpChange(bytes([10, 0, 0, 0]), 8), AllowedIpChange(bytes(15) + b"\1", 128)],
            ),
            PeerChange(OTHER_KEY, remove=True),
        ],
    )


def test_wg_set_that_clears(device: Device) -> None:
    result = device.wg(
        "set", device.name, "private-key", "/dev/null", "peer", format_key_base64(KEY), "preshared-key", "/dev/null"
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert device.change() == DeviceChange(private_key=bytes(32), peers=[PeerChange(KEY, preshared_key=bytes(32))])


@pytest.mark.dropin("7")
@pytest.mark.known_bug("UAPI errors with positive errno")
def test_wg_names_the_error(device: Device) -> None:
    device.errno = 98
    result = device.wg("set", device.name, "listen-port", "7")
    assert result.returncode == 1
    assert os.strerror(98) in result.stderr


wg_endpoints = st.one_of(
    st.tuples(v4, st.integers(1, 65535), st.just(0)),
    st.tuples(v6.filter(lambda ip: not ip.startswith((bytes(10), b"\xfe\x80"))), st.integers(1, 65535), st.just(0)),
)
wg_statuses = st.builds(
    DeviceStatus,
    private_key=optional(keys.filter(any)),
    listen_port=ports,
    fwmark=u32,
    peers=st.lists(
        st.builds(
            PeerStatus,
            public_key=keys,
            preshared_key=keys,
            endpoint=optional(wg_endpoints),
            last_handshake_ns=st.integers(0, 2**62),
            tx_bytes=st.integers(0, 2**64 - 1),
            rx_bytes=st.integers(0, 2**64 - 1),
            persistent_keepalive=ports,
            allowed_ips=st.lists(prefixes, max_size=3, unique=True),
        ),
        max_size=3,
        unique_by=lambda peer: peer.public_key,
    ),
)


def dump_line(peer: PeerStatus) -> str:
    """A peer as `wg show dump` writes it: wg(8)."""
    text = at_once.format_get(DeviceStatus(peers=[peer])).decode().split()
    values = dict(line.split("=", 1) for line in text)
    psk = bytes(memoryview(peer.preshared_key))
    return "\t".join(
        [
            format_key_base64(peer.public_key),
            format_key_base64(psk) if any(psk) else "(none)",
            values.get("endpoint", "(none)"),
            ",".join(line.removeprefix("allowed_ip=") for line in text if line.startswith("allowed_ip=")) or "(none)",
            str(peer.last_handshake_ns // 10**9),
            str(peer.rx_bytes),
            str(peer.tx_bytes),
            str(peer.persistent_keepalive or "off"),
        ]
    )


@with_wg
@given(wg_statuses)
def test_wg_show_reads_every_get(device: Device, status: DeviceStatus) -> None:
    device.status = status
    result = device.wg("show", device.name, "dump")
    assert (result.returncode, result.stderr) == (0, "")
    first, *rest = result.stdout.splitlines()
    private_key, _public_key, listen_port, fwmark = first.split("\t")
    assert private_key == (format_key_base64(bytes(status.private_key)) if status.private_key else "(none)")
    assert listen_port == str(status.listen_port)
    assert fwmark == (f"{status.fwmark:#x}" if status.fwmark else "off")
    assert sorted(rest) == sorted(map(dump_line, status.peers))


wg_configs = st.builds(
    wg_quick.WgQuickConfig,
    interface=st.builds(wg_quick.InterfaceSection, private_key=keys, listen_port=optional(ports), fwmark=optional(u32)),
    peers=st.lists(
        st.builds(
            wg_quick.PeerSection,
            public_key=keys,
            preshared_key=optional(keys),
            allowed_ips=st.lists(prefixes, max_size=3),
            endpoint=optional(st.sampled_from([("192.0.2.1", 1), ("2001:db8::1", 65535)])),
            persistent_keepalive=optional(ports),
        ),
        max_size=3,
    ),
)


def as_change(config: wg_quick.WgQuickConfig) -> DeviceChange:
    """What `wg setconf` makes of a file."""
    interface = config.interface
    return DeviceChange(
        interface.private_key,
        interface.listen_port or 0,
        interface.fwmark or 0,
        replace_peers=True,
        peers=[
            PeerChange(
                peer.public_key,
                preshared_key=peer.preshared_key,
                endpoint=uapi_endpoint(peer.endpoint),
                persistent_keepalive=peer.persistent_keepalive,
                replace_allowed_ips=True,
                allowed_ips=[AllowedIpChange(*prefix) for prefix in peer.allowed_ips],
            )
            for peer in config.peers
        ],
    )


def uapi_endpoint(endpoint: tuple[str, int] | None) -> tuple[bytes, int, int] | None:
    if endpoint is None:
        return None
    family = socket.AF_INET6 if ":" in endpoint[0] else socket.AF_INET
    return socket.inet_pton(family, endpoint[0]), endpoint[1], 0


def set_conf(device: Device, tmp_path: Path, text: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "wg.conf"
    file.write_text(text)
    return device.wg("setconf", device.name, str(file))


@with_wg
@given(wg_configs)
def test_wg_reads_our_files(device: Device, tmp_path: Path, config: wg_quick.WgQuickConfig) -> None:
    result = set_conf(device, tmp_path, wg_quick.format(config))
    assert (result.returncode, result.stderr) == (0, "")
    assert device.change() == as_change(config)


HEAD = f"[Interface]\nPrivateKey = {format_key_base64(KEY)}\n"
PEER = f"{HEAD}[Peer]\nPublicKey = {format_key_base64(OTHER_KEY)}\n"


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "ListenPort = 0x1\n",
        HEAD + "ListenPort = 007\n",
        HEAD + "listenport=7#8\n",
        HEAD + "FwMark = OFF\n",
        HEAD + "FwMark = 0X1\n",
        HEAD + "FwMark = 0x1g\n",
        HEAD + "FwMark = 010\n",
        HEAD + "FwMark = 0xffffffff\n",
        HEAD + "FwMark = 0x100000000\n",
        HEAD + "Fw Mark = 1\n",
        HEAD + "Nonsense = 1\n",
        HEAD + "[ Peer ]\nPublicKey = " + format_key_base64(OTHER_KEY),
        HEAD + "[Peers]\n",
        HEAD + "[Peer]\n",
        "ListenPort = 1\n" + HEAD,
        PEER,
        PEER + "AllowedIPs = 10.0.0.1\n",
        PEER + "AllowedIPs = 10.0.0.1/ 8 , ::1/128\n",
        PEER + "AllowedIPs = 10.0.0.1/08\n",
        PEER + "AllowedIPs = 10.0.0.1/33\n",
        PEER + "AllowedIPs = 10.0.0.1/\n",
        PEER + "AllowedIPs = 10.0.0.1/8,\n",
        PEER + "AllowedIPs = 10.0.0.01/8\n",
        PEER + "AllowedIPs = ::/129\n",
        PEER + "Endpoint = 192.0.2.1:7\n",
        PEER + "Endpoint = [2001:db8::1]:7\n",
        PEER + "Endpoint = 2001:db8::1:7\n",
        PEER + "Endpoint = 192.0.2.1\n",
        PEER + "Endpoint = 192.0.2.1:\n",
        PEER + "Endpoint = [2001:db8::1]\n",
        PEER + "PersistentKeepalive = OFF\n",
        PEER + "PersistentKeepalive = 65536\n",
        PEER + "PersistentKeepalive =\n",
        PEER + "PresharedKey = AAAA\n",
        PEER + "ListenPort = 1\n",
        PEER + "Address = 10.0.0.1/8\n",
        HEAD.replace("\n", "\r\n") + "ListenPort = 7\r\n",
        HEAD + "\tListenPort\t=\v7\f",
        HEAD + "ListenPort = 7\xa0\n",
        HEAD + "ListenPort\u2003= 7\n",
        HEAD + "ListenPort = 7\x1c\n",
        HEAD + "ListenPort = \u0667\n",
        HEAD + "Fw\u212aark = 1\n",
        HEAD + "LISTENPORT = 7\nlistenport = 8\n",
        HEAD + "ListenPort = 7 ListenPort = 8\n",
        HEAD + "ListenPort = 7\rFwMark = 8\n",
        HEAD + "# f\xfcr alle\nListenPort = 7 # \xfc\n",
        HEAD + "ListenPort: 7\n",
        HEAD + "ListenPort 7\n",
        HEAD + HEAD,
        HEAD + "[Interface]\nListenPort = 7\n" + PEER,
        PEER + "PublicKey = " + format_key_base64(KEY) + "\n",
        PEER + "AllowedIPs = 10.0.0.0/8\nAllowedIPs = 11.0.0.0/8, 10.0.0.0/8\n",
        PEER + "AllowedIPs = ::ffff:10.0.0.0/104\n",
        PEER + "AllowedIPs = fe80::1%lo/64\n",
        PEER + "Endpoint = [::ffff:192.0.2.2]:7\nEndpoint = 192.0.2.1:7\n",
        PEER + "PersistentKeepalive = off\n",
        PEER + PEER.partition("[Peer]")[2],
    ],
)
def test_a_file_means_to_us_what_it_means_to_wg(device: Device, tmp_path: Path, text: str) -> None:
    result = set_conf(device, tmp_path, text)
    if result.returncode:
        with pytest.raises(WgQuickError):
            wg_quick.parse(text, "wg.conf")
    else:
        assert as_change(wg_quick.parse(text, "wg.conf")) == device.change()


@with_wg
@given(addresses_with_length)
def test_an_allowed_ip_means_to_us_what_it_means_to_wg(
    device: Device, tmp_path: Path, address: tuple[bytes, int]
) -> None:
    family = socket.AF_INET if len(address[0]) == 4 else socket.AF_INET6
    text = f"{PEER}AllowedIPs = {socket.inet_ntop(family, address[0])}/{address[1]}\n"
    assert set_conf(device, tmp_path, text).returncode == 0
    assert device.change() == as_change(wg_quick.parse(text, "wg.conf"))
