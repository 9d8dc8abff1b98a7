"""The network as the kernel tells it, or does not: a machine without IPv6 has no addresses of it, and no error."""

import errno
from collections.abc import Mapping
from socket import AF_INET6
from typing import Any

import pytest

from pywg.manage.network import Network


class Kernel:
    """In place of rtnetlink: refuses all that is about IPv6, and has nothing else."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.asked: list[int] = []

    def dump(self, _kind: int, _form: Any, fields: Mapping[str, int], _attributes: Any = None) -> list[Any]:
        self.asked.append(fields["family"])
        if fields["family"] == AF_INET6:
            raise OSError(self.code, "refused")
        return []


def a_network(monkeypatch: pytest.MonkeyPatch, code: int) -> tuple[Network, Kernel]:
    kernel = Kernel(code)
    monkeypatch.setattr("pywg.manage.network.Rtnetlink", lambda: kernel)
    return Network(), kernel


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EAFNOSUPPORT])
def test_without_ipv6(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    network, kernel = a_network(monkeypatch, code)
    assert network.addresses(1) == []
    assert network.routes(table=51820) == []
    assert network.rules(AF_INET6) == []
    assert kernel.asked.count(AF_INET6) == 3


def test_other_errors_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = a_network(monkeypatch, errno.EPERM)
    for ask in (lambda: network.addresses(1), network.routes, lambda: network.rules(AF_INET6)):
        with pytest.raises(PermissionError):
            ask()
