from typing import final

from typing_extensions import Buffer

@final
class Needles:
    def __init__(self, needles: list[bytes]) -> None: ...
    def find(self, data: Buffer) -> list[tuple[int, int]]: ...
