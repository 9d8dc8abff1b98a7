"""The strangers of the crowd."""

import ipaddress

from bench.tunnel.many_peers import SIZES, stranger_address


def test_every_stranger_has_an_address_of_its_own_outside_the_labs() -> None:
    addresses = {ipaddress.ip_address(stranger_address(number)) for number in range(max(SIZES))}
    assert len(addresses) == max(SIZES)
    assert all(one in ipaddress.ip_network("11.0.0.0/8") for one in addresses)
