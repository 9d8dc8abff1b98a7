# cython: language_level=3, cdivision=True
"""The reorder ring in the model: a reader, helpers, and the control plane that holds all.

In each slot is its number. Work, finishing and the lanes say whether each came once, in order, whole, and not while all
was held; and whether a slot that goes together came between those before it and those behind it.
"""
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc

from pywg.dataplane.crypto.aead_contexts cimport AeadContexts
from pywg.dataplane.reorder.pool cimport Pool, pool_new, pool_start, pool_wake
from pywg.dataplane.reorder.reorder cimport LANES_MAX, Reorder, reorder_finish, reorder_has_room, reorder_hold
from pywg.dataplane.reorder.reorder cimport reorder_init, reorder_is_empty, reorder_lanes, reorder_next, reorder_pass
from pywg.dataplane.reorder.reorder cimport reorder_release, reorder_submit, reorder_submit_worked, reorder_together
from pywg.dataplane.reorder.reorder cimport reorder_turns, reorder_work
from pywg.dataplane.state.gate cimport Gate, gate_enter, gate_init, gate_leave
from pywg.dataplane.sys.atomic cimport load8
from pywg.dataplane.sys.linux cimport POLLIN, eventfd, eventfd_read, poll, pollfd

from tests.model.engine cimport Options, Scenario, explored, model_choose, model_fault, model_ignore, model_name
from tests.model.engine cimport model_self, model_thread, model_wait

cdef enum:
    SLOTS = 4
    WORK = 3                    # a descriptor: there is work, or never again
    SOCKET = 4
    POLLHUP = 16
    LOST = 5                    # a processor that comes back when everything is finished
    THREADS = 7


cdef struct Plan:
    int slots
    int count                   # of slots that the reader fills
    int helpers
    bint pool                   # the helpers are those of pool.pyx, and sleep; otherwise they just know of work
    int refusals                # slots that can't be finished at once
    int holds                   # of the control plane
    int lanes
    int together                # bit n: slot number n goes together
    int looks                   # of a thread that waits for its turn; 0: there are no turns
    int lost                    # threads that lose their processor while they wait for their turn

cdef struct World:
    Reorder reorder
    Reorder other               # of the other direction, which has nothing to do
    Gate gate
    Pool *pool
    int kick
    uint64_t slots[SLOTS]
    uint64_t finished           # under the ring's `finishing`
    uint64_t peer               # the control plane writes it while it holds all; work and finishing read it
    int refusals
    uint64_t passed[LANES_MAX]  # under the lane's `held`
    uint64_t went               # one more than the last slot that went together; lane 0 writes it
    uint64_t[2] turns           # counters
    uint64_t[THREADS] works     # on which slot each thread works, or worked last
    int lost

cdef Plan plan
cdef World *world


cdef void look_at_peer() noexcept nogil:
    if world.peer > <uint64_t>plan.holds:
        model_fault(b"a peer of whom nobody knows")


cdef void work(void *owner, int slot, AeadContexts *contexts) noexcept nogil:
    look_at_peer()
    world.works[model_self()] = world.slots[slot]
    world.slots[slot] = 2 * world.slots[slot] + 1


cdef bint finish(void *owner, int slot) noexcept nogil:
    if world.refusals > 0 and model_choose(2, b"the socket is full"):
        world.refusals -= 1
        return False
    look_at_peer()
    if world.slots[slot] != 2 * world.finished + 1:
        model_fault(b"a slot lost, twice, overtaken, or not worked on")
    if plan.lanes:
        reorder_together(&world.reorder, slot, plan.together >> world.finished & 1)
    world.finished += 1
    return True


cdef void pass_slot(void *owner, int slot, int lane) noexcept nogil:
    cdef uint64_t number = world.passed[lane], before
    cdef int other
    look_at_peer()
    if world.slots[slot] != 2 * number + 1:
        model_fault(b"a lane passed a slot that was lost, twice, overtaken, or not finished")
    if plan.together >> number & 1:
        for other in range(1, plan.lanes):
            if lane == 0 and world.passed[other] < number:
                model_fault(b"a slot that goes together overtook one before it")
        if lane == 0:
            world.went = number + 1
    for before in range(number):
        if plan.together >> before & 1 and world.went <= before:
            model_fault(b"a slot that goes together was overtaken")
    world.passed[lane] = number + 1


cdef void relax() noexcept nogil:
    """A thread that has others behind it may lose its processor here: they are not to need it."""
    if world.lost > 0 and world.works[model_self()] + 1 < <uint64_t>plan.count:
        if model_choose(2, b"its processor is taken away"):
            world.lost -= 1
            model_wait(LOST, POLLIN)


cdef void *reader(void *arg) noexcept nogil:
    cdef uint64_t number
    for number in range(plan.count):
        while not fill(number):
            wait(load8(&world.reorder.backlog))
    while plan.refusals and not reorder_is_empty(&world.reorder):
        if load8(&world.reorder.backlog):
            gate_enter(&world.gate)
            reorder_finish(&world.reorder, True)
            gate_leave(&world.gate)
        wait(load8(&world.reorder.backlog))
    return NULL


cdef void wait(bint full) noexcept nogil:
    """For a kick, or `full`: until the socket has room, which it soon has."""
    cdef uint64_t ignored
    cdef pollfd[2] fds
    fds[0].fd = world.kick
    fds[1].fd = SOCKET if full else -1
    fds[0].events = fds[1].events = POLLIN
    poll(fds, 2, -1)
    if fds[0].revents:
        eventfd_read(world.kick, &ignored)


cdef bint fill(uint64_t number) noexcept nogil:
    """As the send path does. False: there is no room."""
    cdef int slot
    gate_enter(&world.gate)
    if load8(&world.reorder.backlog):
        reorder_finish(&world.reorder, True)
    while True:
        slot = reorder_next(&world.reorder)
        if load8(&world.reorder.backlog):
            gate_leave(&world.gate)
            return False
        if slot >= 0:
            break
        if not reorder_work(&world.reorder, NULL) and not reorder_has_room(&world.reorder):
            gate_leave(&world.gate)
            return False
    world.slots[slot] = number
    if reorder_is_empty(&world.reorder) and model_choose(2, b"the batch is small"):
        work(NULL, slot, NULL)
        reorder_submit_worked(&world.reorder)
        reorder_finish(&world.reorder, False)
        reorder_pass(&world.reorder)
    else:
        reorder_submit(&world.reorder)
        if world.pool != NULL:
            pool_wake(world.pool)
    gate_leave(&world.gate)
    return True


cdef void *helper(void *arg) noexcept nogil:
    while not model_wait(WORK, POLLIN) & POLLHUP:
        reorder_work(&world.reorder, NULL)
    return NULL


cdef short ready(int fd, short events) noexcept nogil:
    if fd == SOCKET:
        return events
    if fd == LOST:
        return POLLIN if world.reorder.finished == <uint64_t>plan.count else 0
    if world.reorder.taken < world.reorder.submitted:
        return POLLIN
    return POLLHUP if world.reorder.taken == <uint64_t>plan.count else 0


cdef void *control(void *arg) noexcept nogil:
    cdef int _, lane
    for _ in range(plan.holds):
        gate_enter(&world.gate)
        reorder_hold(&world.reorder)
        world.peer += 1
        if world.reorder.in_work != 0:
            model_fault(b"a slot is in work while all is held")
        if not load8(&world.reorder.backlog) and world.finished != world.reorder.submitted:
            model_fault(b"a slot is left that could be finished, while all is held")
        for lane in range(plan.lanes):
            if world.passed[lane] != world.finished:
                model_fault(b"a lane has slots left while all is held")
        reorder_release(&world.reorder)
        gate_leave(&world.gate)
    return NULL


cdef void setup() noexcept nogil:
    global world
    cdef int _
    world = <World *>calloc(1, sizeof(World))
    world.kick = eventfd(0, 0)
    world.refusals = plan.refusals
    world.lost = plan.lost
    gate_init(&world.gate)
    reorder_init(&world.reorder, plan.slots, world.kick, world, work, finish)
    reorder_lanes(&world.reorder, plan.lanes, pass_slot)
    reorder_turns(&world.reorder, plan.looks, &world.turns[0], &world.turns[1])
    reorder_init(&world.other, 1, -1, NULL, work, finish)
    model_ignore(&world.gate, sizeof(Gate))
    model_ignore(&world.other, sizeof(Reorder))
    model_ignore(world.turns, sizeof(world.turns))
    model_ignore(world.works, sizeof(world.works) + sizeof(world.lost))
    names()
    model_thread(b"reader", reader, NULL)
    if plan.pool:
        world.pool = pool_new(plan.helpers, NULL, &world.reorder, &world.other)
        model_name(&world.pool.looking, 8, b"looking")
        model_name(&world.pool.running, 8, b"running")
        model_name(&world.pool.stop, 1, b"pool.stop")
        model_name(&world.pool.lock, sizeof(world.pool.lock), b"pool.lock")
        model_name(&world.pool.work, sizeof(world.pool.work), b"pool.work")
        pool_start(world.pool)
    else:
        for _ in range(plan.helpers):
            model_thread(b"helper", helper, NULL)
    if plan.holds:
        model_thread(b"control", control, NULL)


cdef void names() noexcept nogil:
    cdef Reorder *p = &world.reorder
    cdef int lane
    for lane in range(plan.lanes):
        model_name(&p.lane[lane].passed, 8, b"lane.passed")
        model_name(&p.lane[lane].held, 1, b"lane.held")
    model_name(p.together, sizeof(p.together), b"together")
    model_name(world.passed, sizeof(world.passed), b"slots passed")
    model_name(&world.went, 8, b"slots gone together")
    model_name(&p.submitted, 8, b"submitted")
    model_name(&p.taken, 8, b"taken")
    model_name(&p.finished, 8, b"finished")
    model_name(&p.turns_from, 8, b"turns_from")
    model_name(&p.in_work, 8, b"in_work")
    model_name(p.worked, sizeof(p.worked), b"worked")
    model_name(&p.finishing, 1, b"finishing")
    model_name(&p.backlog, 1, b"backlog")
    model_name(&p.wants_room, 1, b"wants_room")
    model_name(&p.waiter, 1, b"waiter")
    model_name(&p.lock, sizeof(p.lock), b"ring.lock")
    model_name(&p.idle, sizeof(p.idle), b"idle")
    model_name(&world.gate.turnstile, sizeof(world.gate.turnstile), b"gate.turnstile")
    model_name(&world.gate.hold, sizeof(world.gate.hold), b"gate.hold")
    model_name(world.slots, sizeof(world.slots), b"slots")
    model_name(&world.finished, 8, b"slots finished")
    model_name(&world.peer, 8, b"peer")


cdef const char *end() noexcept nogil:
    cdef int lane
    if world.finished != <uint64_t>plan.count:
        return b"all threads wait, and a slot is not finished"
    for lane in range(plan.lanes):
        if world.passed[lane] != <uint64_t>plan.count:
            return b"all threads wait, and a lane has not passed a slot"
        if world.reorder.lane[lane].passed != <uint64_t>plan.count or world.reorder.lane[lane].held:
            return b"a lane has passed all, and does not say so"
    if world.reorder.submitted != world.reorder.finished or world.reorder.in_work != 0 or world.reorder.finishing:
        return b"all is finished, and the ring does not say so"
    return NULL


def explore(dict wanted, *, int stale, int races, int preemptions, int spurious, uint64_t states_max) -> dict:
    cdef Scenario scenario = Scenario(setup, end, ready, NULL, NULL, NULL, NULL, relax)
    cdef Options options = Options(stale, races, preemptions, spurious, states_max)
    global plan
    plan = wanted
    return {**explored(&scenario, &options), "reached": []}
