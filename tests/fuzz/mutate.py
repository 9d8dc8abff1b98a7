"""Small changes to bytes."""

import random

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)


def mutate(chance: random.Random, data: bytes) -> bytes:
    """One to four changes: a bit, a byte, a piece left out, doubled or moved, the end cut or lengthened."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed) + 1)
        until = min(len(changed), at + chance.choice([1, 1, 2, 4, 16]))
        match chance.randrange(7):
            case 0 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(changed):
                changed[at] = chance.choice(INTERESTING)
            case 2:
                del changed[at:until]
            case 3:
                changed[at:at] = changed[at:until]
            case 4:
                piece = changed[at:until]
                del changed[at:until]
                at = chance.randrange(len(changed) + 1)
                changed[at:at] = piece
            case 5:
                del changed[at:]
            case _:
                changed += chance.randbytes(chance.randint(1, 20))
    return bytes(changed)


def flip(chance: random.Random, data: bytes, start: int = 0, end: int | None = None) -> bytes:
    """Another value in one byte of data[start:end]."""
    at = chance.randrange(start, len(data) if end is None else end)
    changed = bytearray(data)
    changed[at] ^= chance.randint(1, 255)
    return bytes(changed)
