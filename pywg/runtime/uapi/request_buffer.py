"""The bytes that a client of a configuration socket has sent and the server has not used yet. They hold keys."""

from pywg.dataplane.crypto.secret import wipe

_FIRST_LEN = 4096


class RequestBuffer:
    """Bytes of a client that the server has not used yet: the first `used` of `data`. Never leaves a copy behind."""

    def __init__(self) -> None:
        self.data = bytearray(_FIRST_LEN)
        self.used = 0
        self._searched = 0

    def room(self) -> memoryview:
        """The space to receive into, never empty. A full buffer is replaced by one of twice its size, and wiped."""
        if self.used == len(self.data):
            grown = bytearray(2 * len(self.data))
            grown[: self.used] = self.data
            wipe(self.data)
            self.data = grown
        return memoryview(self.data)[self.used :]

    def begins_well(self, operations: tuple[bytes, ...]) -> bool:
        """Whether the bytes, as far as they go, begin one of `operations`."""
        start = bytes(self.data[: min(self.used, max(map(len, operations)))])
        return any(start[: len(name)] == name[: len(start)] for name in operations)

    def may_become(self, operations: tuple[bytes, ...]) -> bool:
        """Whether the bytes are a part of the beginning of one of `operations`, and not yet all of it."""
        start = bytes(self.data[: min(self.used, max(map(len, operations), default=0))])
        return any(self.used < len(name) and name.startswith(start) for name in operations)

    def operation_len(self) -> int | None:
        """Bytes of the first operation, its blank line included; None when that line hasn't come yet."""
        found = self.data.find(b"\n\n", self._searched, self.used)
        if found < 0:
            self._searched = max(self.used - 1, 0)
            return None
        return found + 2

    def last_operation_len(self) -> int | None:
        """Bytes of the operation at the end of the stream; None unless its last line is whole.

        Half a key must not become a key.
        """
        if self.used == 0 or self.data[self.used - 1] != ord("\n"):
            return None
        return self.used

    def discard(self, length: int) -> None:
        """Wipes the first `length` bytes, and moves the rest to the beginning."""
        rest = self.used - length
        with memoryview(self.data) as view:
            view[:rest] = view[length : self.used]  # a slice of the bytearray would be a copy
            wipe(view[rest : self.used])
        self.used = rest
        self._searched = 0
        if len(self.data) > _FIRST_LEN and rest == 0:
            self.data = bytearray(_FIRST_LEN)

    def forget(self) -> None:
        """Wipes all but the last byte, with which a blank line may begin. Needs no memory."""
        if self.used > 1:
            self.data[0] = self.data[self.used - 1]
            with memoryview(self.data) as view:
                wipe(view[1 : self.used])
            self.used = 1
        self._searched = 0

    def wipe(self) -> None:
        """Wipes all that was received."""
        wipe(self.data)
        self.used = 0
