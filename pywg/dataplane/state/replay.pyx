"""The replay window (replay.pxd) as Python sees it: for tests and measurements, not for the packet path."""
from libc.stdint cimport uint64_t

import cython

from pywg.dataplane.state.replay cimport ReplayWindow, replay_accept, replay_plausible, replay_reset


@cython.final
@cython.auto_pickle(False)
cdef class Window:
    """The counters one receiving key has seen (RFC 6479; 8192 bits, a counter may be 8128 behind the greatest)."""

    cdef ReplayWindow window

    def __cinit__(self):
        replay_reset(&self.window)

    def accept(self, counter) -> bool:
        """Marks `counter` as seen; False when it was, is too old or past the limit. OverflowError past 64 bits."""
        cdef uint64_t value = counter
        return replay_accept(&self.window, value)

    def plausible(self, counter) -> bool:
        """What `accept` would answer, without a change."""
        cdef uint64_t value = counter
        return replay_plausible(&self.window, value)

    def reset(self) -> None:
        """Forgets every counter."""
        replay_reset(&self.window)
