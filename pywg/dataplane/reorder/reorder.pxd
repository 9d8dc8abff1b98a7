"""The reorder ring: batches that several threads work on at once, and that leave in the order in which they came.

One thread, the reader of its direction, fills the next slot inside its gate and submits it. A free thread takes the
oldest slot that no thread has taken and works on it: seals it, or opens it. Slots are finished (sent, or delivered) in
the order in which they were submitted, one at a time. A thread that is done with a slot takes the `finishing` flag if
it is free, finishes all that is ready from the head on, gives the flag back and looks once more. A thread that finds
the flag taken leaves its slot to the holder. So no thread needs another, no slot is forgotten, and none overtakes
another.

With *turns* a thread finishes what it has worked on itself, for its cache has it. A thread that is done with a slot,
when all before it are worked on, keeps it (KEPT) and looks, a bounded number of times, whether those have left; then it
is READY, and finished as without turns. The holder of the flag stops at a slot that is kept. Keeping is a wish, and
binds nobody: any thread may make a kept slot READY at any time, and finish it. One that has looked in vain, because
nothing left meanwhile, does so with all of them; and of the next slots none is kept, for threads seem to have no
processor each. Of neighbours that are worked on, the thread that was done last waits, unless one before is still worked
on. So a thread that loses its processor while it keeps a slot holds up others for no longer than one of them looks.

Finished slots may have a way to go, in several *lanes*: each slot has a part in every lane. A lane is a ring's end in
small: it passes the slots in the order in which they were finished, one thread at a time, and a thread that finds it
held leaves the slots to the holder, which looks once more when it has given the lane back. Lanes don't wait for each
other, but for a slot that goes *together*, in lane 0: it comes after all before it in every lane, and before all
behind it. A slot is free when all lanes have passed it.

A slot that can't be finished now (the socket is full) blocks those behind it. Then the reader is kicked: it waits for
the socket, and tries again.

The control plane, with the reader's gate, waits until no slot is in work, keeps the flag, and waits until the lanes
have passed all that is finished: the slots that are left then, if any, are blocked ones.
"""
from libc.stdint cimport uint8_t, uint64_t
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts
from pywg.dataplane.sys.linux cimport pthread_cond_t, pthread_mutex_t

cdef enum:
    SLOTS_MAX = 16
    LANES_MAX = 4
    TURN_LOOKS = 4096               # while nothing leaves: 40 to 200 us; sending a full batch takes 20 to 40

cdef enum:                          # of a slot, in `worked`; 0: not worked on
    READY = 1                       # it may be finished
    KEPT = 2                        # the same, and the thread that worked on it waits for its turn

ctypedef void (*Work)(void *owner, int slot, AeadContexts *contexts) noexcept nogil
ctypedef bint (*Finish)(void *owner, int slot) noexcept nogil     # False: not now, and the rest stays in the slot
ctypedef void (*Pass)(void *owner, int slot, int lane) noexcept nogil


cdef struct Lane:
    uint64_t passed             # atomic: slots ever passed (under `held`)
    uint8_t held                # atomic: a thread passes slots
    uint8_t apart[119]          # two cache lines a lane, which a processor fetches together


cdef struct Reorder:
    int slots
    int kick                    # the reader's eventfd
    int turn_looks              # how often a thread looks in vain for its turn; 0: there are no turns
    void *owner
    Work work
    Finish finish
    uint64_t *turns             # counters: slots whose thread waited,
    uint64_t *turns_late        # and that waited in vain
    uint64_t submitted          # atomic: slots ever submitted; the reader alone writes it
    uint64_t taken              # atomic: slots ever taken to be worked on
    uint64_t finished           # atomic: slots ever finished (under `finishing`)
    uint64_t in_work            # atomic: slots submitted whose work is not done
    uint64_t turns_from         # atomic: the first slot that may be kept
    uint8_t worked[SLOTS_MAX]   # atomic: 0, READY or KEPT
    uint8_t finishing           # atomic: a thread finishes slots
    uint8_t backlog             # atomic: the head can't be finished
    uint8_t wants_room          # atomic: the reader wants to be kicked when there is room
    uint8_t waiter              # atomic: the control plane waits for `idle`
    pthread_mutex_t lock
    pthread_cond_t idle
    int lanes                   # 0: a slot that is finished is free
    Pass pass_slot
    uint8_t together[SLOTS_MAX]     # atomic: the slot goes together; written when it is finished
    Lane lane[LANES_MAX]

cdef void reorder_init(Reorder *p, int slots, int kick, void *owner, Work work, Finish finish) noexcept nogil
cdef void reorder_lanes(Reorder *p, int lanes, Pass pass_slot) noexcept nogil
cdef void reorder_turns(Reorder *p, int looks, uint64_t *turns, uint64_t *turns_late) noexcept nogil
cdef void reorder_destroy(Reorder *p) noexcept nogil

# The reader, inside its gate
cdef bint reorder_is_empty(const Reorder *p) noexcept nogil
cdef int reorder_next(const Reorder *p) noexcept nogil
cdef bint reorder_has_room(Reorder *p) noexcept nogil
cdef void reorder_submit(Reorder *p) noexcept nogil
cdef void reorder_submit_worked(Reorder *p) noexcept nogil

# Any thread
cdef bint reorder_has_work(const Reorder *p) noexcept nogil
cdef bint reorder_work(Reorder *p, AeadContexts *contexts) noexcept nogil
cdef bint reorder_finish(Reorder *p, bint again) noexcept nogil
cdef void reorder_pass(Reorder *p) noexcept nogil

# In `finish`
cdef void reorder_together(Reorder *p, int slot, bint together) noexcept nogil

# The control plane, with the reader's gate
cdef void reorder_hold(Reorder *p) noexcept nogil
cdef void reorder_finish_held(Reorder *p) noexcept nogil
cdef void reorder_release(Reorder *p) noexcept nogil
