"""The process that runs a driver's cases: inside.py MODULE SEED FIRST CASES CPU_SECONDS (CASES 0: as many as go).

A line of JSON goes out before each case, so that the last one names what a crash was in, and one when all is over.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

from pywg._fastpath import available_aeads
from tests.native_build import load_module


def main(module: str, seed: int, first: int, cases: int, cpu_seconds: float) -> None:
    """The AEAD backend is another one from case to case."""
    begin = time.process_time()
    number, frames = first, 0

    def tell(case: int, *, over: bool) -> None:
        spent = time.process_time() - begin
        print(json.dumps({"case": case, "frames": frames, "cpu_seconds": spent, "over": over}), flush=True)

    tell(number, over=False)
    driver = load_module(Path(module))
    backends = sorted(available_aeads())
    while (not cases or number < first + cases) and (time.process_time() - begin < cpu_seconds or number == first):
        tell(number, over=False)
        drawn = hashlib.sha256(f"{Path(module).name.split('.')[0]} {seed} {number}".encode()).digest()
        frames += driver.case(int.from_bytes(drawn[:8], "little"), backends[number % len(backends)])[0]
        number += 1
    tell(number - first, over=True)


if __name__ == "__main__":
    module, seed, first, cases, cpu_seconds = sys.argv[1:]
    main(module, int(seed), int(first), int(cases), float(cpu_seconds))
