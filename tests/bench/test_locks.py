"""Lock-prefixed instructions are told from others, and counted where they were executed."""

from collections import Counter
from pathlib import Path

import pytest

from bench.stages import locks

LISTING = """
    1000:\tmov    %rax,(%rdi)
    1003:\tlock cmpxchg %ecx,(%rdx)
    1007:\txchg   %ax,%ax
    1009:\txchg   %eax,(%rdx)
    100b:\tlock addq $0x1,0x10(%rdi)
"""


def test_the_prefix_and_the_exchange_with_memory() -> None:
    assert locks._LOCKED.findall(LISTING) == ["1003", "1009", "100b"]


def test_what_was_executed_counts_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "run", lambda *_argv, **_options: LISTING)
    sending = Path("/x/pywg/dataplane/send/seal.so")
    code = [(0x501000, 0x502000, 0x1000, sending), (0x701000, 0x702000, 0x1000, Path("/lib/libc.so.6"))]
    seen = Counter({0x501000: 9, 0x501003: 6, 0x50100B: 2, 0x701009: 1})
    assert locks._by_way(seen, code, 4.0) == {"libc": 0.25, "out": 2.0}


@pytest.mark.parametrize(
    ("path", "way"),
    [
        ("/send/pywg/dataplane/receive/open.so", "in"),
        ("/receive/pywg/dataplane/udp/send.so", "out"),
        ("/x/pywg/dataplane/state/peers.so", "both"),
        ("/lib/libc.so.6", "libc"),
    ],
)
def test_a_module_belongs_to_a_way(path: str, way: str) -> None:
    assert locks._way(Path(path)) == way
