"""The helper threads by themselves, with rings whose slots hold nothing."""
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts
from pywg.dataplane.crypto.aead_select cimport aead_choose
from pywg.dataplane.reorder.pool cimport Pool, pool_free, pool_new, pool_start, pool_stop
from pywg.dataplane.reorder.reorder cimport SLOTS_MAX, Reorder, reorder_destroy, reorder_hold, reorder_init
from pywg.dataplane.reorder.reorder cimport reorder_release, reorder_submit
from pywg.dataplane.sys.atomic cimport load64, store8


cdef void work(void *owner, int slot, AeadContexts *contexts) noexcept nogil:
    pass


cdef bint finish(void *owner, int slot) noexcept nogil:
    return True


def left_in_work(int helpers, int slots) -> int:
    """How many of the submitted slots are left by helpers that are told to stop before any of them has begun."""
    cdef Reorder rings[2]
    cdef Pool *pool
    cdef int i, failed
    if not 0 <= slots <= SLOTS_MAX:
        raise ValueError(f"0 to {SLOTS_MAX} slots")
    for i in range(2):
        reorder_init(&rings[i], SLOTS_MAX, -1, NULL, work, finish)
    pool = pool_new(helpers, aead_choose("auto"), &rings[0], &rings[1])
    if pool == NULL:
        raise MemoryError
    for _ in range(slots):
        reorder_submit(&rings[0])
    store8(&pool.stop, 1)
    with nogil:
        failed = pool_start(pool)
        pool_stop(pool)
    left = load64(&rings[0].in_work)
    if not left:
        reorder_hold(&rings[0])     # returns
        reorder_release(&rings[0])
    pool_free(pool)
    for i in range(2):
        reorder_destroy(&rings[i])
    if failed:
        raise OSError(failed, "threads can't be started")
    return left
