"""Fuzz target: the reorder ring, with the steps of its threads in an order that the input chooses.

One thread plays all: while it works on a slot, finishes one or passes one, the steps of the others come in between.
Each slot has to be worked on once, by the oldest first, to be finished once, in order, and to be passed once by each
lane, in order; one that goes together comes after all before it and before all behind it; none may be forgotten; the
room has to be exact, and the reader is kicked when it has to be.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memset

from pywg.dataplane.crypto.aead_contexts cimport AeadContexts
from pywg.dataplane.reorder.reorder cimport LANES_MAX, SLOTS_MAX, Reorder, reorder_finish, reorder_finish_held
from pywg.dataplane.reorder.reorder cimport reorder_has_room, reorder_has_work, reorder_hold, reorder_init
from pywg.dataplane.reorder.reorder cimport reorder_is_empty, reorder_lanes, reorder_next, reorder_pass
from pywg.dataplane.reorder.reorder cimport reorder_release, reorder_submit, reorder_submit_worked, reorder_together
from pywg.dataplane.reorder.reorder cimport reorder_turns, reorder_work
from pywg.dataplane.sys.linux cimport EFD_CLOEXEC, EFD_NONBLOCK, eventfd, eventfd_read

from tests.fuzz.native.common cimport need, need_equal
from tests.fuzz.native.input cimport Input, input8, input_left, input_start

cdef enum:
    DEPTH_MAX = 12              # threads that are in the middle of something

cdef enum SlotState:
    FREE
    FILLED
    TAKEN
    WORKED
    FINISHED                    # and not passed by every lane

cdef struct Model:
    Reorder ring
    Input input
    int depth
    SlotState state[SLOTS_MAX]
    uint64_t number[SLOTS_MAX]
    uint64_t submitted
    uint64_t taken
    uint64_t finished
    bint finishing              # a thread is in `finish`
    uint64_t passed[LANES_MAX]
    bint passing[LANES_MAX]     # a thread is in `pass_slot`
    bint together[SLOTS_MAX]
    bint alone                  # the control plane holds the reader's gate, and no helper has work
    bint draining               # nothing is blocked any more
    bint blocked                # the last try to finish the head was refused
    bint reader_knows           # and the reader was the one that tried
    bint by_reader              # the one that finishes now is the reader
    bint wants_room
    bint kicked
    uint64_t turns
    uint64_t turns_late
    AeadContexts contexts

cdef Model m
cdef int kick_fd = -1


cdef void notice_kicks() noexcept nogil:
    cdef uint64_t value = 0
    if eventfd_read(kick_fd, &value) == 0 and value:
        m.kicked = True


cdef void between() noexcept nogil:
    """What other threads do meanwhile."""
    cdef uint32_t steps
    if m.depth >= DEPTH_MAX or m.alone or m.draining:
        return
    m.depth += 1
    steps = input8(&m.input) & 3
    while steps:
        steps -= 1
        step()
    m.depth -= 1


cdef void work(void *owner, int slot, AeadContexts *contexts) noexcept nogil:
    need(owner == &m and contexts == &m.contexts, b"work for another ring")
    need(m.state[slot] == FILLED, b"work on a slot that is not waiting for it")
    need_equal(m.number[slot], m.taken, b"the slot to be worked on")
    m.taken += 1
    m.state[slot] = TAKEN
    between()
    need(m.state[slot] == TAKEN and m.number[slot] >= m.finished, b"a slot that changed while it was in work")
    m.state[slot] = WORKED


cdef bint finish(void *owner, int slot) noexcept nogil:
    cdef bint by_reader = m.by_reader
    need(owner == &m and not m.finishing, b"two threads that finish slots")
    need(m.state[slot] == WORKED, b"a slot finished before its work is done")
    need_equal(m.number[slot], m.finished, b"the slot to be finished")
    m.finishing = True
    m.by_reader = False
    between()
    m.by_reader = by_reader
    m.finishing = False
    m.blocked = not m.draining and input8(&m.input) % 5 == 1
    m.reader_knows = by_reader
    if m.blocked:
        return False
    m.state[slot] = FINISHED if m.ring.lanes else FREE
    if m.ring.lanes:
        m.together[slot] = input8(&m.input) & 7 == 7
        reorder_together(&m.ring, slot, m.together[slot])
    m.finished += 1
    return True


cdef uint64_t freed() noexcept nogil:
    cdef uint64_t least = m.finished
    cdef int lane
    for lane in range(m.ring.lanes):
        least = min(least, m.passed[lane])
    return least


cdef void pass_slot(void *owner, int slot, int lane) noexcept nogil:
    cdef uint64_t number = m.passed[lane], before
    cdef int other
    need(owner == &m and lane < m.ring.lanes and not m.passing[lane], b"two threads that pass slots through a lane")
    need(m.state[slot] == FINISHED, b"a slot passed that is not finished, or free")
    need_equal(m.number[slot], number, b"the slot to be passed")
    for other in range(1, m.ring.lanes):
        need(lane != 0 or not m.together[slot] or m.passed[other] >= number, b"a slot that overtook one before it")
    for before in range(freed(), number):
        need(not m.together[before % <uint64_t>m.ring.slots] or m.passed[0] > before, b"a slot that was overtaken")
    m.passing[lane] = True
    between()
    m.passing[lane] = False
    need(m.state[slot] == FINISHED and m.number[slot] == number, b"a slot that changed while it was passed")
    m.passed[lane] = number + 1
    if freed() > number:
        m.state[slot] = FREE


cdef void fill() noexcept nogil:
    """The reader looks for a slot, and fills it."""
    cdef uint64_t waiting = m.submitted - freed()
    cdef int slot = reorder_next(&m.ring)
    need((slot >= 0) == (waiting < <uint64_t>m.ring.slots), b"room that is there or not")
    need(reorder_is_empty(&m.ring) == (waiting == 0), b"a ring that is empty or not")
    if slot < 0:
        need(not reorder_has_room(&m.ring), b"room without a slot")
        m.wants_room = True
        return
    need(slot == <int>(m.submitted % <uint64_t>m.ring.slots) and m.state[slot] == FREE, b"a slot that is in use")
    m.state[slot] = FILLED
    m.number[slot] = m.submitted
    m.submitted += 1
    if waiting == 0 and input8(&m.input) & 1:
        m.state[slot] = WORKED
        m.taken += 1
        reorder_submit_worked(&m.ring)
        retry(False)
    else:
        reorder_submit(&m.ring)


cdef void retry(bint again) noexcept nogil:
    """The reader finishes what is ready, or tries again what was blocked. It then knows what is."""
    cdef bint before = m.by_reader
    m.by_reader = True
    if reorder_finish(&m.ring, again):
        need(m.blocked, b"a head that is blocked, and was not refused")
    reorder_pass(&m.ring)
    m.by_reader = before


cdef void help() noexcept nogil:
    cdef bint waiting = m.taken < m.submitted
    cdef bint before = m.by_reader
    need(reorder_has_work(&m.ring) == waiting, b"work that is there or not")
    m.by_reader = False
    need(reorder_work(&m.ring, &m.contexts) == waiting, b"work that was done or not")
    m.by_reader = before


cdef void hold() noexcept nogil:
    """The control plane, which would wait while there is work."""
    if m.depth or m.taken < m.submitted:
        return
    m.alone = True
    reorder_hold(&m.ring)
    need(m.finished == m.submitted or m.blocked, b"slots left behind by the control plane")
    need_equal(freed(), m.finished, b"slots that the control plane waited for")
    if input8(&m.input) & 1:
        reorder_finish_held(&m.ring)
        reorder_pass(&m.ring)
    reorder_release(&m.ring)
    m.alone = False


cdef void step() noexcept nogil:
    cdef uint32_t what = input8(&m.input)
    if what % 8 < 3:
        fill()
    elif what % 8 < 6:
        help()
    elif what % 8 == 6:
        retry(what & 0x10)
    elif what & 0x10:
        hold()
    else:
        notice_kicks()


cdef void nothing_is_forgotten() noexcept nogil:
    """Now that no thread is in the middle of anything."""
    cdef int head = <int>(m.finished % <uint64_t>m.ring.slots)
    need_equal(m.ring.in_work, m.submitted - m.taken, b"slots in work")
    need_equal(m.ring.finished, m.finished, b"slots finished")
    need_equal(freed(), m.finished, b"slots passed")
    if m.finished < m.submitted and m.state[head] == WORKED:
        need(m.blocked, b"a slot that is ready, and forgotten")
        if not m.reader_knows:
            notice_kicks()
            need(m.kicked, b"a reader that was not kicked when the head was blocked")
            m.reader_knows = True
    if m.wants_room and m.submitted - freed() <= <uint64_t>m.ring.slots // 2:
        notice_kicks()
        need(m.kicked, b"a reader that was not kicked when there was room")
        m.wants_room = False
    if not m.wants_room and m.reader_knows:
        m.kicked = False


cdef int one(const uint8_t *data, size_t size) noexcept nogil:
    """A byte for the slots, the lanes and the turns, then steps."""
    cdef uint32_t what
    memset(&m, 0, sizeof(m))
    input_start(&m.input, data, size)
    notice_kicks()
    m.kicked = False
    what = input8(&m.input)
    reorder_init(&m.ring, 1 + <int>(what % SLOTS_MAX), kick_fd, &m, work, finish)
    reorder_lanes(&m.ring, <int>(what // SLOTS_MAX % (LANES_MAX + 1)), pass_slot)
    reorder_turns(&m.ring, <int>(what // (SLOTS_MAX * (LANES_MAX + 1))), &m.turns, &m.turns_late)
    while input_left(&m.input):
        step()
        nothing_is_forgotten()
    m.draining = True
    while reorder_work(&m.ring, &m.contexts):
        pass
    retry(True)
    need_equal(freed(), m.submitted, b"slots finished at the end, and passed")
    return 0


def address(str _aead: str) -> int:
    """Where the target is."""
    global kick_fd
    kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    need(kick_fd >= 0, b"no descriptor")
    return <uintptr_t>&one
