# cython: language_level=3, cdivision=True
"""A pipeline (pywg/dataplane/reorder/reorder.pxd) by itself, whose slots hold next to nothing: millions go through it.

test_pipeline.py builds it. In the slots are numbers, which say whether all was there that should have been.
"""
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from posix.unistd cimport usleep

from pywg.dataplane.crypto.aead_contexts cimport Worker
from pywg.dataplane.reorder.reorder cimport Pipeline, pipeline_destroy, pipeline_finish, pipeline_has_room
from pywg.dataplane.reorder.reorder cimport pipeline_hold, pipeline_init, pipeline_is_empty, pipeline_next
from pywg.dataplane.reorder.reorder cimport pipeline_release, pipeline_submit, pipeline_submit_worked, pipeline_work
from pywg.dataplane.sys.atomic cimport load8, store8


cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef enum:
    SLOTS = 8
    NUMBERS = 24


cdef struct Owner:
    uint64_t slots[SLOTS][NUMBERS]
    uint64_t finished           # under the pipeline's `finishing`
    uint64_t wrong
    uint64_t refusals           # each of so many slots can't be finished at once
    bint refused


cdef void work(void *owner, int slot, Worker *worker) noexcept nogil:
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
    cdef Pipeline line
    cdef Owner *owner
    cdef unsigned char stop

    def __cinit__(self, *, uint64_t refusals=0):
        self.owner = <Owner *>calloc(1, sizeof(Owner))
        self.owner.refusals = refusals
        pipeline_init(&self.line, SLOTS, -1, self.owner, work, finish)

    def __dealloc__(self):
        pipeline_destroy(&self.line)
        free(self.owner)

    def help(self):
        """Until `read` has ended."""
        with nogil:
            while not load8(&self.stop):
                if not pipeline_work(&self.line, NULL):
                    sched_yield()

    def read(self, uint64_t count, uint64_t hold_each):
        """(finished, wrong numbers) of `count` slots; each of `hold_each` times everything is held for a moment."""
        cdef uint64_t number
        with nogil:
            for number in range(count):
                self.fill(number)
                if number % hold_each == 0:
                    pipeline_hold(&self.line)
                    pipeline_release(&self.line)
            while not pipeline_is_empty(&self.line):
                self.lend_a_hand()
            store8(&self.stop, 1)
        return self.owner.finished, self.owner.wrong

    cdef void fill(self, uint64_t number) noexcept nogil:
        cdef int i, slot = pipeline_next(&self.line)
        cdef bint alone
        while slot < 0:
            self.lend_a_hand()
            slot = pipeline_next(&self.line)
        alone = pipeline_is_empty(&self.line)
        for i in range(NUMBERS):
            self.owner.slots[slot][i] = number + i
        if not alone:
            pipeline_submit(&self.line)
            return
        work(self.owner, slot, NULL)
        pipeline_submit_worked(&self.line)
        pipeline_finish(&self.line, False)

    cdef void lend_a_hand(self) noexcept nogil:
        if load8(&self.line.blocked):
            pipeline_finish(&self.line, True)
        elif not pipeline_work(&self.line, NULL) and not pipeline_has_room(&self.line):
            usleep(1)
