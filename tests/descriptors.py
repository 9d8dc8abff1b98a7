"""The descriptors of this process, for tests that look whether one is left open."""

import gc
import os


def own_descriptors(*, settled: bool = False) -> set[int]:
    """Those that are open, and the one for looking.

    `settled`: what other tests have left to Python's collector closes its own first. So a first look is taken: it would
    do so at some later moment, and be missing then.
    """
    if settled:
        gc.collect()
    return {int(one) for one in os.listdir("/proc/self/fd")}
