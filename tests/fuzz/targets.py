"""The targets by name."""

from tests.fuzz import datagrams
from tests.fuzz.engine import Case

TARGETS: dict[str, Case] = {
    "datagrams": datagrams.case,
}
