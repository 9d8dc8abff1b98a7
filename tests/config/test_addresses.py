"""Addresses and prefixes as text, against the standard library's own reading."""

from ipaddress import ip_address, ip_interface

import pytest
from hypothesis import given

from pywg.config import addresses
from pywg.errors import ConfigError
from tests.config.strategies import addresses_with_length, prefixes, sock_addrs


@given(prefixes)
def test_prefix_round_trip(prefix: tuple[bytes, int]) -> None:
    text = addresses.format_prefix(prefix)
    assert addresses.parse_prefix(text) == prefix
    network = ip_interface(text).network
    assert (network.network_address.packed, network.prefixlen) == prefix


@given(addresses_with_length)
def test_host_bits(address: tuple[bytes, int]) -> None:
    ip, cidr = address
    text = f"{ip_address(ip)}/{cidr}"
    network = ip_interface(text).network.network_address.packed
    assert addresses.parse_prefix(text) == (network, cidr)
    assert addresses.parse_interface_address(text) == address
    assert addresses.mask(ip, cidr) == network


@given(sock_addrs)
def test_sock_addr_round_trip(address: tuple[bytes, int, int]) -> None:
    assert addresses.parse_sock_addr(addresses.format_sock_addr(address)) == address


def test_a_mapped_address_is_the_ipv4_address_it_means() -> None:
    assert addresses.parse_sock_addr("[::ffff:192.0.2.1]:7") == (bytes([192, 0, 2, 1]), 7, 0)
    assert addresses.parse_sock_addr("[::ffff:192.0.2.1%1]:7") == (bytes([192, 0, 2, 1]), 7, 0)


def test_a_zone_is_an_interfaces_name_or_index() -> None:
    loopback = b"\xfe\x80" + bytes(13) + b"\x01"
    assert addresses.parse_sock_addr("[fe80::1%lo]:7") == (loopback, 7, 1)
    assert addresses.parse_sock_addr("[fe80::1%1]:7") == (loopback, 7, 1)
    assert addresses.parse_sock_addr("[fe80::1%77777]:7") == (loopback, 7, 77777)


def test_a_zone_is_shown_by_name_and_by_index_where_there_is_none() -> None:
    loopback = b"\xfe\x80" + bytes(13) + b"\x01"
    assert addresses.format_sock_addr((loopback, 7, 1)) == "[fe80::1%lo]:7"
    for nobody in (77777, 2**31, 2**32 - 1):
        assert addresses.format_sock_addr((loopback, 7, nobody)) == f"[fe80::1%{nobody}]:7"


@pytest.mark.parametrize("name", [b"a]b", b"a%b", b"\xff\xfe", b"a=b"])
def test_a_name_that_no_reader_takes_is_not_shown(name: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "interface_name", lambda index: name)
    assert addresses.format_sock_addr((bytes(16), 7, 5)) == "[::%5]:7"


@pytest.mark.parametrize("ip", [b"", bytes(3), bytes(5), bytes(17)])
def test_other_lengths_are_no_addresses(ip: bytes) -> None:
    with pytest.raises(ConfigError):
        addresses.format_ip(ip)


@pytest.mark.parametrize(
    "text", ["", "-", "1 ", " 1", "+1", "1_0", "1.0", "0x1", "\N{SUPERSCRIPT TWO}", "256", "0" * 9 + "256"]
)
def test_not_a_number(text: str) -> None:
    with pytest.raises(ConfigError):
        addresses.parse_number(text, 255)


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("000", 0), ("0255", 255), ("0" * 5000 + "7", 7)])
def test_number(text: str, number: int) -> None:
    assert addresses.parse_number(text, 255) == number
