"""How long a daemon takes from SIGTERM until it is gone, while a full TCP stream goes through it."""

import os
import signal
import time

from . import traffic
from .lab import Lab
from .measure import Effort, Figures
from .site import poll

GONE_WITHIN_S = 20.0


def measure(lab: Lab, _effort: Effort) -> Figures:
    """stop_s, of the sending daemon."""
    lab.establish()
    with traffic.background(lab.near, lab.far, lab.far.inner(4)):
        began = time.monotonic()
        os.kill(lab.near.pid, signal.SIGTERM)
        poll(lambda: not lab.near.alive(), "the daemon is gone", GONE_WITHIN_S, every_s=0.001)
        return {"stop_s": time.monotonic() - began}
