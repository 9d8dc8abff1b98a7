"""The targets by name."""

from tests.fuzz import datagrams, handshakes, text
from tests.fuzz.engine import Case

TARGETS: dict[str, Case] = {
    "datagrams": datagrams.case,
    "text": text.case,
    "handshakes": handshakes.case,
}
