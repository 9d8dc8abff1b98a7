"""What a program may give, and one clear line for what it may not."""

import base64
import ipaddress
from pathlib import Path

import pytest

from pywg.api.given import Address, Key, endpoint_of, file_of, key_of, prefixes_of, wiped
from pywg.config.wg_quick import InterfaceSection, PeerSection, WgQuickConfig
from pywg.errors import ConfigError, DeviceError, WgQuickError

KEY = bytes(range(1, 33))
TEXT = base64.b64encode(KEY).decode()


@pytest.mark.parametrize("given", [KEY, bytearray(KEY), TEXT, f"{TEXT}\n"])
def test_a_key_is_bytes_or_base64(given: Key) -> None:
    assert key_of(given, "public_key") == KEY


def test_a_key_is_another_object_so_that_the_copy_alone_is_wiped() -> None:
    assert key_of(KEY, "preshared_key") is not KEY


@pytest.mark.parametrize("given", [KEY[:31], KEY + b"x", TEXT[:-1], "", b""])
def test_what_is_no_key_is_refused_without_being_repeated(given: Key) -> None:
    with pytest.raises(ConfigError, match="preshared_key must be a key") as caught:
        key_of(given, "preshared_key")
    assert not given or str(given) not in str(caught.value)


def test_a_bytearray_is_wiped_and_nothing_else_can_be() -> None:
    secret = bytearray(KEY)
    wiped(secret)
    assert not any(secret)
    for other in (KEY, TEXT, None):
        wiped(other)
    assert bytes(range(1, 33)) == KEY


@pytest.mark.parametrize(
    "given",
    [
        "10.1.0.0/16",
        "10.1.2.3/16",
        ipaddress.ip_network("10.1.0.0/16"),
        ipaddress.ip_interface("10.1.2.3/16"),
        (bytes([10, 1, 0, 0]), 16),
    ],
)
def test_a_network_is_given_in_many_ways(given: Address) -> None:
    assert prefixes_of([given], "allowed_ips") == [(bytes([10, 1, 0, 0]), 16)]


def test_an_address_is_a_network_of_its_own_and_each_comes_once() -> None:
    given = ["10.0.0.1", ipaddress.ip_address("10.0.0.1"), "fd00::1"]
    assert [cidr for _, cidr in prefixes_of(given, "allowed_ips")] == [32, 128]


@pytest.mark.parametrize("given", ["10.0.0.0/33", "nowhere", (b"\1\2\3", 8), (bytes(4), 33), None, 7])
def test_what_is_no_network_is_refused(given: Address) -> None:
    with pytest.raises(ConfigError, match="allowed_ips: "):
        prefixes_of([given], "allowed_ips")


def test_one_text_is_no_list_of_networks() -> None:
    with pytest.raises(ConfigError, match="is a list"):
        prefixes_of("10.0.0.0/8", "allowed_ips")


def test_an_endpoint() -> None:
    assert endpoint_of("gw.example:51820") == ("gw.example", 51820)
    assert endpoint_of("[fd00::1]:7") == ("fd00::1", 7)
    assert endpoint_of(("192.0.2.1", 9)) == ("192.0.2.1", 9)
    for wrong in ("gw.example", "gw.example:0", "gw.example:99999", ":7", ("", 7), ("gw", 0), 7):
        with pytest.raises(ConfigError, match="is not HOST:PORT"):
            endpoint_of(wrong)  # type: ignore[arg-type]


FILE = f"[Interface]\nPrivateKey = {TEXT}\n[Peer]\nPublicKey = {TEXT}\n"


def test_a_configuration_is_a_path_a_text_or_a_data_class(tmp_path: Path) -> None:
    path = tmp_path / "wg7.conf"
    path.write_text(FILE)
    read = [file_of(path, ""), file_of(str(path), "wg7"), file_of(FILE, "wg7")]
    assert [one.config for one in read] == [read[0].config] * 3
    assert {one.target.interface for one in read} == {"wg7"}
    given = WgQuickConfig(InterfaceSection(KEY), [PeerSection(KEY)])
    file = file_of(given, "wg7")
    assert file.config == given
    file.config.peers.clear()
    assert given.peers


def test_what_can_not_be_read_is_one_line_that_says_where(tmp_path: Path) -> None:
    with pytest.raises(WgQuickError, match=r"^configuration:2:\d+: "):
        file_of("[Interface]\nListenPort = many\n", "wg7")
    with pytest.raises(DeviceError, match="there is no "):
        file_of(tmp_path / "wg7.conf", "")
    with pytest.raises(ConfigError, match="needs `name`"):
        file_of(FILE, "")
    with pytest.raises(ConfigError, match="gives no interface"):
        file_of(FILE, "a name that is too long")
    path = tmp_path / "wg7.conf"
    path.write_text(FILE)
    with pytest.raises(ConfigError, match="is the file of wg7"):
        file_of(path, "wg8")
