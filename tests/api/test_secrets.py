"""Keys that a program sets: of each copy that is made on the way, nothing is left."""

import asyncio

import pytest

from pywg.api import tunnel as tunnels
from pywg.api.given import Key, key_of
from pywg.api.tunnel import Tunnel
from pywg.api.worker import Worker
from pywg.config.model import DeviceChange
from pywg.manage import client


def test_a_private_key_is_clamped_and_its_copies_are_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    given, copies, changes = bytearray(b"\xff" * 32), [], []

    def copied(key: Key, what: str) -> bytes:
        copies.append(key_of(key, what))
        return copies[-1]

    def change(_interface: str, what: DeviceChange) -> None:
        assert what.private_key is not None
        changes.append(bytes(what.private_key))

    async def run() -> None:
        tunnel = Tunnel.attach("wg0")
        tunnel._worker = Worker()
        try:
            await tunnel.set_private_key(given)
        finally:
            tunnel._worker.close()

    monkeypatch.setattr(tunnels, "key_of", copied)
    monkeypatch.setattr(client, "change", change)
    asyncio.run(run())
    assert changes == [b"\xf8" + b"\xff" * 30 + b"\x7f"]
    assert copies == [bytes(32)]
    assert given == bytes(32)


def test_a_copy_is_another_object() -> None:
    """Or wiping it would wipe what the program has."""
    for given in (bytes(range(32)), bytearray(range(32))):
        copy = key_of(given, "a key")
        assert copy == given
        assert copy is not given
