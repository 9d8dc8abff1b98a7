from typing import TypeAlias, final

TIMED: tuple[str, ...]

_Site: TypeAlias = tuple[int, int, int, tuple[bytes, int, int, bytes, int]]

@final
class Stream:
    def __init__(
        self, aead: str, near: _Site, far: _Site, beside: Stream | None = None, network: bytes = b""
    ) -> None: ...
    @property
    def aead(self) -> str: ...
    def attach(self, near: int, far: int) -> None: ...
    def carry(
        self, payload: int, *, turns: int = ..., cpu: int = -1, other_cpu: int = -1
    ) -> tuple[int, dict[str, tuple[int, int]]]: ...
