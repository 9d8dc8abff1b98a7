"""Helper threads (pool.pxd)."""
from libc.stdint cimport uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from pywg.dataplane.crypto.aead_contexts cimport aead_contexts_free, aead_contexts_init
from pywg.dataplane.reorder.reorder cimport Reorder, reorder_has_work, reorder_work
from pywg.dataplane.sys.atomic cimport add64_ordered, fence, load64, load8, store8
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.sys.linux cimport pthread_cond_broadcast, pthread_cond_destroy, pthread_cond_init
from pywg.dataplane.sys.linux cimport pthread_cond_signal, pthread_cond_wait, pthread_create, pthread_join
from pywg.dataplane.sys.linux cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock
from pywg.dataplane.sys.linux cimport pthread_mutex_unlock, pthread_self, pthread_setname_np
from pywg.dataplane.sys.seccomp cimport filter_enter

cdef enum:
    NAME_LEN = 16


cdef Pool *pool_new(int count, const AeadBackend *aead, Reorder *first, Reorder *second) noexcept nogil:
    """A pool of up to HELPERS_MAX helpers, none of them started. NULL: no memory."""
    cdef Pool *pool = <Pool *>calloc(1, sizeof(Pool))
    cdef int i
    c_assert(count <= HELPERS_MAX)
    if pool == NULL:
        return NULL
    pthread_mutex_init(&pool.lock, NULL)
    pthread_cond_init(&pool.work, NULL)
    pool.reorders[0] = first
    pool.reorders[1] = second
    pool.helpers = <Helper *>calloc(count, sizeof(Helper))
    if pool.helpers == NULL:
        pool_free(pool)
        return NULL
    for i in range(count):
        pool.count += 1
        pool.helpers[i].pool = pool
        pool.helpers[i].number = i
        aead_contexts_init(&pool.helpers[i].contexts, aead)
    return pool


cdef int pool_start(Pool *pool) noexcept nogil:
    """Starts the helpers, with the caller's signal mask. 0, or an errno: not all could be started, and none runs."""
    cdef Helper *helper
    cdef int error
    while pool.started < pool.count:
        helper = &pool.helpers[pool.started]
        error = pthread_create(&helper.thread, NULL, helper_thread, helper)
        if error != 0:
            pool_stop(pool)
            return error
        pool.started += 1
    return 0


cdef void pool_stop(Pool *pool) noexcept nogil:
    """Returns when all helpers have ended, and no slot is left that was submitted before. No reader runs any more."""
    cdef int i
    pthread_mutex_lock(&pool.lock)
    store8(&pool.stop, 1)
    pthread_cond_broadcast(&pool.work)
    pthread_mutex_unlock(&pool.lock)
    for i in range(pool.started):
        pthread_join(pool.helpers[i].thread, NULL)
    pool.started = 0


cdef void pool_free(Pool *pool) noexcept nogil:
    """Frees a pool that is stopped, or was never started."""
    cdef int i
    if pool == NULL:
        return
    for i in range(pool.count):
        aead_contexts_free(&pool.helpers[i].contexts)
    free(pool.helpers)
    pthread_cond_destroy(&pool.work)
    pthread_mutex_destroy(&pool.lock)
    free(pool)


cdef void *helper_thread(void *arg) noexcept nogil:
    cdef Helper *helper = <Helper *>arg
    cdef Pool *pool = helper.pool
    cdef int i = helper.number
    cdef char name[NAME_LEN]
    snprintf(name, NAME_LEN, "pywg-h%d", helper.number)
    pthread_setname_np(pthread_self(), name)
    if pool.filter != NULL:
        filter_enter(pool.filter)
    add64_ordered(&pool.looking, 1)
    add64_ordered(&pool.running, 1)
    # None is left in work at the end: the control plane would wait for it for ever (reorder_hold).
    while not load8(&pool.stop) or has_work(pool):
        # The two directions alternate, so that neither starves.
        i += 1
        if (not help(pool, pool.reorders[i % DIRECTIONS], helper)
                and not help(pool, pool.reorders[(i + 1) % DIRECTIONS], helper)):
            sleep(pool)
    return NULL


cdef bint help(Pool *pool, Reorder *reorder, Helper *helper) noexcept nogil:
    """Works on one slot. False: this direction has none."""
    if not reorder_has_work(reorder):
        return False
    # From here on this helper does not look for work. If there is more, and no other helper looks, one has to be woken.
    if add64_ordered(&pool.looking, ~<uint64_t>0) == 0 and has_more(pool):
        pool_wake(pool)
    reorder_work(reorder, &helper.contexts)
    add64_ordered(&pool.looking, 1)
    return True


cdef bint has_work(const Pool *pool) noexcept nogil:
    return reorder_has_work(pool.reorders[0]) or reorder_has_work(pool.reorders[1])


cdef bint has_more(const Pool *pool) noexcept nogil:
    """Whether there is work for more than one helper."""
    cdef uint64_t taken, waiting = 0
    cdef int i
    for i in range(DIRECTIONS):
        taken = load64(&pool.reorders[i].taken)    # first: `submitted`, read later, can't be below it
        waiting += load64(&pool.reorders[i].submitted) - taken
    return waiting > 1


cdef void sleep(Pool *pool) noexcept nogil:
    """Sleeps until there is work, or the pool stops."""
    pthread_mutex_lock(&pool.lock)
    add64_ordered(&pool.looking, ~<uint64_t>0)
    fence()                     # either this helper sees the work, or pool_wake() sees that no helper looks
    if has_work(pool) or load8(&pool.stop):
        add64_ordered(&pool.looking, 1)
        pthread_mutex_unlock(&pool.lock)
        return
    pool.sleeping += 1
    while pool.woken == 0 and not load8(&pool.stop):
        pthread_cond_wait(&pool.work, &pool.lock)
    if pool.woken > 0:
        pool.woken -= 1         # pool_wake() has updated `sleeping` and `looking` already
    pthread_mutex_unlock(&pool.lock)


cdef void pool_wake(Pool *pool) noexcept nogil:
    """Called after a slot was submitted. Wakes a helper, unless one is looking for work already."""
    fence()
    if load64(&pool.looking) != 0:
        return
    pthread_mutex_lock(&pool.lock)
    if pool.sleeping > 0:
        pool.sleeping -= 1
        pool.woken += 1
        add64_ordered(&pool.looking, 1)
        pthread_cond_signal(&pool.work)
    pthread_mutex_unlock(&pool.lock)
