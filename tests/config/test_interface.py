"""Names of interfaces, as the kernel's dev_valid_name() has them."""

import pytest

from pywg.config.interface import interface_name_fault


@pytest.mark.parametrize("name", ["a", "wg0", "wg-home.1", "...", "123456789012345", "wg@", "ü" * 7])
def test_good_names(name: str) -> None:
    assert interface_name_fault(name) == ""


@pytest.mark.parametrize("name", ["", "1234567890123456", "ü" * 8])
def test_lengths_are_of_bytes(name: str) -> None:
    assert "1 to 15 bytes" in interface_name_fault(name)


@pytest.mark.parametrize("name", [".", "..", "a/b", "a:b", "a b", "a\tb", "a\n", "a\0"])
def test_what_a_path_or_a_list_could_not_hold(name: str) -> None:
    assert "no '/'" in interface_name_fault(name)


@pytest.mark.parametrize("name", ["a\x1b[2J", "\udcfd", "\u202egw"])
def test_what_a_message_could_not_show(name: str) -> None:
    assert interface_name_fault(name) == "has printable characters only"
