"""The targets by name."""

from tests.fuzz import aead, datagrams, frames, handshakes, text
from tests.fuzz.engine import Case

TARGETS: dict[str, Case] = {
    "aead": aead.case,
    "frames": frames.case,
    "datagrams": datagrams.case,
    "text": text.case,
    "handshakes": handshakes.case,
}
