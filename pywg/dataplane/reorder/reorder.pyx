"""The reorder ring (reorder.pxd).

Where each of two threads writes one variable and then reads the other's, both have a fence between the two: then at
least one of them sees what the other wrote.
"""
from libc.stdint cimport uint64_t
from libc.string cimport memset
from pywg.dataplane.sys.atomic cimport add64, add64_ordered, fence, load64, load64_acquire, load8, load8_acquire, relax
from pywg.dataplane.sys.atomic cimport replace64, replace8, store64, store64_release, store8, store8_release, swap8
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.sys.eventfd cimport eventfd_kick
from pywg.dataplane.sys.linux cimport pthread_cond_broadcast, pthread_cond_destroy, pthread_cond_init, pthread_cond_wait
from pywg.dataplane.sys.linux cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock
from pywg.dataplane.sys.linux cimport pthread_mutex_unlock

cdef enum:
    TURNS_REST = 1024           # slots that nobody keeps after one was looked for in vain


cdef void reorder_init(Reorder *p, int slots, int kick, void *owner, Work work, Finish finish) noexcept nogil:
    """`slots`: at most SLOTS_MAX."""
    c_assert(slots <= SLOTS_MAX)
    memset(p, 0, sizeof(Reorder))
    p.slots = slots
    p.kick = kick
    p.owner = owner
    p.work = work
    p.finish = finish
    pthread_mutex_init(&p.lock, NULL)
    pthread_cond_init(&p.idle, NULL)


cdef void reorder_lanes(Reorder *p, int lanes, Pass pass_slot) noexcept nogil:
    """Gives a new ring `lanes` lanes, at most LANES_MAX."""
    c_assert(lanes <= LANES_MAX)
    p.lanes = lanes
    p.pass_slot = pass_slot


cdef void reorder_turns(Reorder *p, int looks, uint64_t *turns, uint64_t *turns_late) noexcept nogil:
    """Gives a new ring turns: `looks` in vain are as many as a thread makes while nothing leaves."""
    p.turn_looks = looks
    p.turns = turns
    p.turns_late = turns_late


cdef void reorder_destroy(Reorder *p) noexcept nogil:
    pthread_cond_destroy(&p.idle)
    pthread_mutex_destroy(&p.lock)


# ---- the reader

cdef inline uint64_t freed(const Reorder *p) noexcept nogil:
    """How many of the slots ever submitted are free again."""
    cdef uint64_t least = load64_acquire(&p.finished)
    cdef int lane
    for lane in range(p.lanes):
        least = min(least, load64_acquire(&p.lane[lane].passed))
    return least


cdef bint reorder_is_empty(const Reorder *p) noexcept nogil:
    """Whether every slot ever submitted is free again; stays so until the reader submits."""
    return freed(p) == p.submitted


cdef int reorder_next(const Reorder *p) noexcept nogil:
    """The slot to fill, or -1: none is free."""
    if p.submitted - freed(p) >= <uint64_t>p.slots:
        return -1
    return <int>(p.submitted % <uint64_t>p.slots)


cdef bint reorder_has_room(Reorder *p) noexcept nogil:
    """Whether there is a slot to fill. If not, the reader may sleep: it is kicked when half of the slots are free."""
    if reorder_next(p) >= 0:
        return True
    store8(&p.wants_room, 1)
    fence()                     # either the reader sees the room, or the finishing thread sees that it is wanted
    return reorder_next(p) >= 0


cdef void reorder_submit(Reorder *p) noexcept nogil:
    """The next slot is filled: the first thread that is free works on it."""
    c_assert(reorder_next(p) >= 0)
    add64_ordered(&p.in_work, 1)
    store64_release(&p.submitted, p.submitted + 1)


cdef void reorder_submit_worked(Reorder *p) noexcept nogil:
    """The next slot is filled, and worked on by the reader itself. The ring is empty."""
    c_assert(reorder_is_empty(p))
    store8_release(&p.worked[p.submitted % <uint64_t>p.slots], READY)
    store64(&p.taken, p.submitted + 1)  # first, so that no other thread can take the slot
    store64_release(&p.submitted, p.submitted + 1)


# ---- any thread

cdef bint reorder_has_work(const Reorder *p) noexcept nogil:
    return load64(&p.taken) < load64(&p.submitted)


cdef bint reorder_work(Reorder *p, AeadContexts *contexts) noexcept nogil:
    """Takes the oldest slot that is not taken, works on it, finishes and passes what is ready. False: there is none."""
    cdef uint64_t number
    cdef int slot
    while True:
        number = load64(&p.taken)
        if number >= load64_acquire(&p.submitted):
            return False
        if replace64(&p.taken, number, number + 1):
            break
    slot = <int>(number % <uint64_t>p.slots)
    p.work(p.owner, slot, contexts)
    if p.turn_looks != 0 and number >= load64(&p.turns_from):
        take_turn(p, number)
    else:
        store8_release(&p.worked[slot], READY)
        add64_ordered(&p.in_work, ~<uint64_t>0)
    if reorder_finish(p, False):
        eventfd_kick(p.kick)
    reorder_pass(p)
    return True


cdef bint reorder_finish(Reorder *p, bint again) noexcept nogil:
    """Finishes what is ready, unless another thread does. `again`: also what was blocked. True: now it is blocked."""
    cdef bint stopped
    while True:
        fence()                 # a holder of the flag sees the slot that became ready, once it gives the flag back
        if swap8(&p.finishing, 1):
            return False
        if again:
            store8(&p.backlog, 0)
        stopped = finish_ready(p)
        reorder_release(p)
        if stopped or load8(&p.backlog) or load8_acquire(&p.worked[load64(&p.finished) % <uint64_t>p.slots]) != READY:
            return stopped
        again = False


cdef bint finish_ready(Reorder *p) noexcept nogil:
    """Finishes slots in order, from the head on. Under `finishing`. True: the head can't be finished, newly."""
    cdef uint64_t number = p.finished
    cdef int slot
    c_assert(load8(&p.finishing))
    if load8(&p.backlog):
        return False
    while True:
        slot = <int>(number % <uint64_t>p.slots)
        if load8_acquire(&p.worked[slot]) != READY:
            return False
        if not p.finish(p.owner, slot):
            store8(&p.backlog, 1)
            return True
        store8(&p.worked[slot], 0)
        number += 1
        store64_release(&p.finished, number)
        if p.lanes == 0:
            tell_room(p)


cdef inline void tell_room(Reorder *p) noexcept nogil:
    """Kicks the reader if it wants room, and there is: after a slot may have become free."""
    fence()                     # of the threads that free a slot, one sees what the others did
    if load8(&p.wants_room) and load64(&p.submitted) - freed(p) <= <uint64_t>p.slots // 2 and swap8(&p.wants_room, 0):
        eventfd_kick(p.kick)


# ---- turns

cdef void take_turn(Reorder *p, uint64_t number) noexcept nogil:
    """Publishes a slot that is worked on, and waits for its turn if all before it are worked on too."""
    cdef bint keeps = worked_before(p, number)
    store8_release(&p.worked[number % <uint64_t>p.slots], KEPT if keeps else READY)
    add64_ordered(&p.in_work, ~<uint64_t>0)     # from here on the control plane may hold all, and finish the slot
    fence()                     # of two threads that publish neighbours, one sees the other's, and so waits
    tell_waiter(p)
    if not keeps and not worked_before(p, number):
        return                  # the thread that works on one before will wait
    # This thread may lose its processor, so it keeps no slot before one whose thread does not wait.
    if is_ready(p, number + 1) or number < load64(&p.turns_from):
        make_ready(p, number)
    add64(p.turns, 1)
    await_turn(p, number)
    make_ready(p, number)


cdef bint worked_before(const Reorder *p, uint64_t number) noexcept nogil:
    """Whether all slots before this one are worked on."""
    cdef uint64_t before = number
    while before > load64(&p.finished):
        before -= 1
        while load8(&p.worked[before % <uint64_t>p.slots]) == 0:
            # The head may be leaving: then `finished` follows at once, before its holder does anything else.
            # This look alone has no bound: a holder that loses its processor right there holds up all others anyway.
            if before != load64(&p.finished) or not load8_acquire(&p.finishing):
                return before < load64_acquire(&p.finished)
    return True


cdef inline bint is_ready(const Reorder *p, uint64_t number) noexcept nogil:
    """Whether a slot is there, and READY."""
    return load8_acquire(&p.worked[number % <uint64_t>p.slots]) == READY and number < load64(&p.submitted)


cdef void await_turn(Reorder *p, uint64_t number) noexcept nogil:
    """Returns when all before has left, or is not to be waited for."""
    cdef uint64_t finished, seen = number
    cdef int looks = 0
    while True:
        finished = load64(&p.finished)
        # A full socket: what leaves next is the reader's to say.
        if finished > number or load8(&p.backlog) or finished == number and not load8(&p.finishing):
            return
        if finished != seen:
            seen = finished
            looks = 0
        elif looks == p.turn_looks:
            add64(p.turns_late, 1)
            store64(&p.turns_from, number + TURNS_REST)
            fence()             # a thread that keeps a slot after this sees that it must not
            make_all_ready(p)
            return
        looks += 1
        relax()


cdef inline void make_ready(Reorder *p, uint64_t number) noexcept nogil:
    """Lets any thread finish the slot, if it is kept. The caller finishes what is ready afterwards.

    It may have left long since, and another be in its place: that one is worked on as well.
    """
    replace8(&p.worked[number % <uint64_t>p.slots], KEPT, READY)


cdef void make_all_ready(Reorder *p) noexcept nogil:
    cdef int slot
    for slot in range(p.slots):
        replace8(&p.worked[slot], KEPT, READY)


# ---- lanes

cdef void reorder_together(Reorder *p, int slot, bint together) noexcept nogil:
    """Says of a slot, while it is being finished, whether it goes together."""
    c_assert(load8(&p.finishing))
    store8(&p.together[slot], together)


cdef bint lane_ready(const Reorder *p, int lane) noexcept nogil:
    """Whether the lane can pass a slot now. Who does not hold it learns only that it could."""
    cdef uint64_t number = load64(&p.lane[lane].passed)
    cdef int other
    if number >= load64_acquire(&p.finished):
        return False
    if not load8(&p.together[number % <uint64_t>p.slots]):
        return True
    if lane != 0:
        return load64_acquire(&p.lane[0].passed) > number
    for other in range(1, p.lanes):
        if load64_acquire(&p.lane[other].passed) < number:
            return False
    return True


cdef void reorder_pass(Reorder *p) noexcept nogil:
    """Passes finished slots through the lanes that no other thread holds, until none of them can pass any."""
    cdef bint again = p.lanes != 0
    cdef int lane
    fence()                     # a holder of a lane sees what this thread finished, once it gives the lane back
    while again:
        again = False
        for lane in range(p.lanes):
            while lane_ready(p, lane) and not swap8(&p.lane[lane].held, 1):
                again |= pass_ready(p, lane)
                store8_release(&p.lane[lane].held, 0)
                fence()


cdef bint pass_ready(Reorder *p, int lane) noexcept nogil:
    """Passes slots in order, under `held`. False: it could pass none."""
    cdef uint64_t number = load64(&p.lane[lane].passed), first = number
    c_assert(load8(&p.lane[lane].held))
    while lane_ready(p, lane):
        p.pass_slot(p.owner, <int>(number % <uint64_t>p.slots), lane)
        number += 1
        store64_release(&p.lane[lane].passed, number)
        tell_room(p)
        tell_waiter(p)
    return number != first


# ---- the control plane

cdef void reorder_hold(Reorder *p) noexcept nogil:
    """Returns when no slot is in work, and all that can be finished is; no other thread finishes slots then."""
    store8(&p.waiter, 1)
    pthread_mutex_lock(&p.lock)
    while True:
        fence()                 # either this thread sees the change, or the thread that makes it sees `waiter`
        if load64_acquire(&p.in_work) == 0 and not swap8(&p.finishing, 1):
            break
        pthread_cond_wait(&p.idle, &p.lock)
    pthread_mutex_unlock(&p.lock)
    if p.turn_looks != 0:
        make_all_ready(p)
    reorder_finish_held(p)
    reorder_pass(p)
    pthread_mutex_lock(&p.lock)
    while True:
        fence()                 # as above
        if freed(p) == p.finished:
            break
        pthread_cond_wait(&p.idle, &p.lock)
    pthread_mutex_unlock(&p.lock)
    store8(&p.waiter, 0)


cdef void reorder_finish_held(Reorder *p) noexcept nogil:
    store8(&p.backlog, 0)
    if finish_ready(p):
        eventfd_kick(p.kick)


cdef void reorder_release(Reorder *p) noexcept nogil:
    """Gives the `finishing` flag back."""
    store8_release(&p.finishing, 0)
    fence()
    tell_waiter(p)


cdef inline void tell_waiter(Reorder *p) noexcept nogil:
    """Wakes the control plane if it waits. After a fence."""
    if load8(&p.waiter):
        pthread_mutex_lock(&p.lock)
        pthread_cond_broadcast(&p.idle)
        pthread_mutex_unlock(&p.lock)
