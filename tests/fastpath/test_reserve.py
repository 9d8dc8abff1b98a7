"""Python's reserve: where not even a small object can be had any more, there is an exception, and the reserve tells."""

import json
import subprocess
import sys

FILL_UP = """
import json, resource, sys
from pywg._fastpath import reserve_fill, reserve_low
room = int(sys.argv[1])
held, low_before = reserve_fill(), reserve_low()
size = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (size + room, -1))
objects, count, large = (), 0, "had"
try:
    large = bytearray(room + (512 << 20))
except MemoryError:
    large = "refused"
after_large = reserve_low()
while not reserve_low():
    objects, count = (objects, bytes(100)), count + 1  # no list, which is a large one some day
while_low = [reserve_fill()]
del objects
print(json.dumps([held, low_before, large, after_large, count > 1000, while_low, reserve_fill(), reserve_low()]))
"""


def test_small_objects_take_the_reserve_and_large_ones_do_not() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FILL_UP, str(16 << 20)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == [True, False, "refused", False, True, [False], True, False]
