"""The inside of `pywg exec` where it can't have its TUN."""

import errno
import os
from typing import NoReturn

import pytest

from pywg.errors import DeviceError
from pywg.manage.exec import inside


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.ENOENT], ids=errno.errorcode.get)
def test_a_device_that_is_closed_to_this_user_is_told_with_what_opens_it(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """By its mode. A container engine, or the lack of a driver, is another matter."""

    def refuse(path: str, _flags: int) -> NoReturn:
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DeviceError) as said:
        inside._open_tun("wg0", offload=True, tunnels=True)
    assert said.value.errno == code
    text = str(said.value.strerror)
    assert ("`chmod 666 /dev/net/tun`, as root" in text) == (code == errno.EACCES)
    assert ("run as root" in text) == (code == errno.EPERM)
