"""How many lock-prefixed instructions a packet costs: the stages single-stepped, and what is seen looked up.

The processor's trap flag stops after each instruction of the data plane and of libc, whose mutexes and system calls the
data plane takes; objdump tells which have the prefix, or are an exchange with memory, which has it unsaid.
"""

import re
import shutil
import struct
from collections import Counter
from pathlib import Path

from bench.stages import costs
from bench.tunnel.command import CommandError, run
from tests.native.stages import Stream
from tests.native.steps import trace

FRAMES = 16
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-xp ([0-9a-f]+) \S+ \d+\s+(/\S+)")
_LOCKED = re.compile(r"^\s*([0-9a-f]+):\s+(?:lock |xchg .*\()", re.MULTILINE)
_WAYS = {"send": "out", "receive": "in"}
_CIPHER = "chacha20poly1305"  # most of all instructions, and none of these


def locked_a_packet(stream: Stream) -> dict[str, float]:
    """Of each way, and of libc for both; empty where instructions can't be stepped or told."""
    if shutil.which("objdump") is None:
        return {}
    code = _mapped()
    ranges = [(low, high) for low, high, _, _ in code]
    carried = 0

    def carry() -> None:
        nonlocal carried
        carried, _ = stream.carry(FRAMES * costs.FRAME_LEN)

    try:
        seen = Counter(address for (address,) in struct.iter_unpack("<Q", trace(carry, ranges)))
        return _by_way(seen, code, carried / costs.SEGMENT_LEN)
    except (RuntimeError, CommandError):
        return {}


def _by_way(seen: Counter[int], code: list[tuple[int, int, int, Path]], packets: float) -> dict[str, float]:
    found: Counter[str] = Counter()
    for low, high, offset, path in code:
        executed = [at for at in seen if low <= at < high]
        if not executed:
            continue
        locked = {
            int(at, 16) for at in _LOCKED.findall(run("objdump", "-d", "--no-show-raw-insn", str(path), timeout=120))
        }
        found[_way(path)] += sum(seen[at] for at in executed if at - low + offset in locked)
    return {way: count / packets for way, count in sorted(found.items())}


def _way(path: Path) -> str:
    if "pywg" not in path.parts:
        return "libc"
    return next((way for word, way in _WAYS.items() if word in str(path).rpartition("dataplane")[2]), "both")


def _mapped() -> list[tuple[int, int, int, Path]]:
    """(from, to, offset in the file, file) of the data plane's code and libc's."""
    found = []
    for low, high, offset, name in _MAPPING.findall(Path("/proc/self/maps").read_text()):
        if ("/pywg/dataplane/" in name and _CIPHER not in name) or "/libc.so" in name:
            found.append((int(low, 16), int(high, 16), int(offset, 16), Path(name)))
    return found
