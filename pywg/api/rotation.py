"""Preshared keys that a program hands over at an interval, from a post-quantum key exchange for example."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from pywg.api.given import Key
from pywg.config.keys import format_key_base64
from pywg.config.model import PeerStatus

AskKey: TypeAlias = Callable[[str], Key | Awaitable[Key | None] | None]
"""A function, or a coroutine function: the next preshared key of the peer whose public key it gets in base64; None
for the present one to stay."""


async def rotate(
    ask: AskKey,
    every: float,
    peers: Callable[[], Awaitable[Iterable[PeerStatus]]],
    set_key: Callable[[bytes, Key], Awaitable[None]],
) -> None:
    """Asks for a key of each peer at once, and again each `every` seconds, for ever. Raises what `ask` raises."""
    while True:
        for peer in await peers():
            key = ask(format_key_base64(peer.public_key))
            if inspect.isawaitable(key):
                key = await key
            if key is not None:
                await set_key(peer.public_key, key)
        await asyncio.sleep(every)
