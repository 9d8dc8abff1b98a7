"""The targets by name. They have what the guided ones play: threads, real sockets, a kernel, a `Plane`."""

from tests.fuzz import datagrams
from tests.fuzz.engine import Case

TARGETS: dict[str, Case] = {
    "datagrams": datagrams.case,
}
