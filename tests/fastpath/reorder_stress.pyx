# cython: language_level=3, cdivision=True
"""A reorder ring (pywg/dataplane/reorder/reorder.pxd) by itself, whose slots hold next to nothing: millions go through.

test_reorder.py builds it. In the slots are numbers, which say whether all was there that should have been.
"""
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from posix.unistd cimport usleep

from pywg.dataplane.crypto.aead_contexts cimport AeadContexts
from pywg.dataplane.reorder.reorder cimport Reorder, reorder_destroy, reorder_finish, reorder_has_room, reorder_hold
from pywg.dataplane.reorder.reorder cimport reorder_init, reorder_is_empty, reorder_next, reorder_release
from pywg.dataplane.reorder.reorder cimport reorder_submit, reorder_submit_worked, reorder_work
from pywg.dataplane.sys.atomic cimport load8, store8


cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef enum:
    SLOTS = 8
    NUMBERS = 24


cdef struct Owner:
    uint64_t slots[SLOTS][NUMBERS]
    uint64_t finished           # under the ring's `finishing`
    uint64_t wrong
    uint64_t refusals           # each of so many slots can't be finished at once
    bint refused


cdef void work(void *owner, int slot, AeadContexts *contexts) noexcept nogil:
    cdef uint64_t *numbers = (<Owner *>owner).slots[slot]
    cdef int i
    for i in range(NUMBERS):
        numbers[i] = 2 * numbers[i] + 1


cdef bint finish(void *owner, int slot) noexcept nogil:
    cdef Owner *o = <Owner *>owner
    cdef int i
    if o.refusals and o.finished % o.refusals == 0 and not o.refused:
        o.refused = True
        return False
    o.refused = False
    for i in range(NUMBERS):
        o.wrong += o.slots[slot][i] != 2 * (o.finished + i) + 1
    o.finished += 1
    return True


cdef class Stress:
    """`read` is for one thread, `help` for any number of others."""
    cdef Reorder reorder
    cdef Owner *owner
    cdef unsigned char stop

    def __cinit__(self, *, uint64_t refusals=0):
        self.owner = <Owner *>calloc(1, sizeof(Owner))
        self.owner.refusals = refusals
        reorder_init(&self.reorder, SLOTS, -1, self.owner, work, finish)

    def __dealloc__(self):
        reorder_destroy(&self.reorder)
        free(self.owner)

    def help(self):
        """Until `read` has ended."""
        with nogil:
            while not load8(&self.stop):
                if not reorder_work(&self.reorder, NULL):
                    sched_yield()

    def read(self, uint64_t count, uint64_t hold_each):
        """(finished, wrong numbers) of `count` slots; each of `hold_each` times everything is held for a moment."""
        cdef uint64_t number
        with nogil:
            for number in range(count):
                self.fill(number)
                if number % hold_each == 0:
                    reorder_hold(&self.reorder)
                    reorder_release(&self.reorder)
            while not reorder_is_empty(&self.reorder):
                self.lend_a_hand()
            store8(&self.stop, 1)
        return self.owner.finished, self.owner.wrong

    cdef void fill(self, uint64_t number) noexcept nogil:
        cdef int i, slot = reorder_next(&self.reorder)
        cdef bint alone
        while slot < 0:
            self.lend_a_hand()
            slot = reorder_next(&self.reorder)
        alone = reorder_is_empty(&self.reorder)
        for i in range(NUMBERS):
            self.owner.slots[slot][i] = number + i
        if not alone:
            reorder_submit(&self.reorder)
            return
        work(self.owner, slot, NULL)
        reorder_submit_worked(&self.reorder)
        reorder_finish(&self.reorder, False)

    cdef void lend_a_hand(self) noexcept nogil:
        if load8(&self.reorder.backlog):
            reorder_finish(&self.reorder, True)
        elif not reorder_work(&self.reorder, NULL) and not reorder_has_room(&self.reorder):
            usleep(1)
