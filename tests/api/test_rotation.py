"""Preshared keys at an interval: which peers are asked for, what is set, and what an error does."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pywg.api.given import Key
from pywg.api.rotation import rotate
from pywg.config.keys import format_key_base64
from pywg.config.model import PeerStatus

KEYS = [bytes([number]) * 32 for number in (1, 2)]


class EndError(Exception):
    """Of a loop that never ends by itself."""


def rotated(ask: Callable[[str], Key | Awaitable[Key | None] | None], rounds: int = 2) -> list[tuple[bytes, Key]]:
    done: list[tuple[bytes, Key]] = []
    left = [rounds]

    async def peers() -> list[PeerStatus]:
        left[0] -= 1
        if left[0] < 0:
            raise EndError
        return [PeerStatus(key) for key in KEYS]

    async def set_key(peer: bytes, key: Key) -> None:
        done.append((peer, key))

    with pytest.raises(EndError):
        asyncio.run(rotate(ask, 0.0, peers, set_key))
    return done


def test_each_peer_is_asked_for_each_time() -> None:
    def ask(peer: str) -> Key:
        return peer[:4].encode() * 8

    expected = [(key, format_key_base64(key)[:4].encode() * 8) for key in KEYS]
    assert rotated(ask) == expected * 2


def test_a_coroutine_function_may_say_none() -> None:
    async def ask(peer: str) -> Key | None:
        await asyncio.sleep(0)
        return b"x" * 32 if peer == format_key_base64(KEYS[1]) else None

    assert rotated(ask) == [(KEYS[1], b"x" * 32)] * 2


def test_an_error_of_the_hook_is_the_callers() -> None:
    def ask(_peer: str) -> Key:
        raise LookupError("no key")

    async def peers() -> list[PeerStatus]:
        return [PeerStatus(KEYS[0])]

    async def set_key(_peer: bytes, _key: Key) -> None:
        raise AssertionError

    with pytest.raises(LookupError, match="no key"):
        asyncio.run(rotate(ask, 0.0, peers, set_key))
