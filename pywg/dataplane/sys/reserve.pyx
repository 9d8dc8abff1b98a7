"""A memory reserve for Python's small objects, so that running out of memory is an exception and not the end.

Where even a small object can't be allocated, CPython 3.11 loops for ever unwinding a MemoryError, and uvloop's
callbacks use a NULL. So blocks of address space are held back (untouched, they cost no memory). When a small allocation
fails, a block is given up and the allocation tried again. Large allocations fail as ever. `reserve_low` tells that this
has happened, so that the operation at work can stop, and be refused with ENOMEM; `reserve_fill` fills the reserve
again.

The allocator is installed by PyMem_SetAllocator, in the domain that the others fall back to. It is set once, and calls
its predecessor. It is not of the limited API, whose headers hide it; each CPython since 3.5 has it as declared here.
"""
from libc.stdlib cimport free, malloc
from pywg.dataplane.sys.atomic cimport load_int, store_int
from pywg.dataplane.sys.linux cimport pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock

cdef extern from *:
    """
    #ifdef Py_LIMITED_API
    typedef enum { PYMEM_DOMAIN_RAW } PyMemAllocatorDomain;
    typedef struct {
        void *ctx;
        void *(*malloc)(void *ctx, size_t size);
        void *(*calloc)(void *ctx, size_t count, size_t size);
        void *(*realloc)(void *ctx, void *memory, size_t size);
        void (*free)(void *ctx, void *memory);
    } PyMemAllocatorEx;
    PyAPI_FUNC(void) PyMem_GetAllocator(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator);
    PyAPI_FUNC(void) PyMem_SetAllocator(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator);
    #endif
    """
    ctypedef enum PyMemAllocatorDomain:
        PYMEM_DOMAIN_RAW
    ctypedef struct PyMemAllocatorEx:
        void *ctx
        void *(*malloc)(void *ctx, size_t size) noexcept nogil
        void *(*calloc)(void *ctx, size_t count, size_t size) noexcept nogil
        void *(*realloc)(void *ctx, void *memory, size_t size) noexcept nogil
        void (*free)(void *ctx, void *memory) noexcept nogil
    void PyMem_GetAllocator(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator) nogil
    void PyMem_SetAllocator(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator) nogil

cdef enum:
    BLOCKS = 4
    BLOCK_LEN = 1048576     # what pymalloc asks the system for at once, and more than malloc does
    SMALL = 65536           # bytes of an allocation that the reserve is there for

cdef PyMemAllocatorEx before
cdef bint installed = False
cdef pthread_mutex_t lock           # guards what follows; the allocator is called without the GIL
cdef void *blocks[BLOCKS]
cdef int held = 0                   # atomic


def reserve_fill() -> bool:
    """Fills the reserve; the first call also installs the allocator. False: there is not so much memory left."""
    global held, installed
    cdef PyMemAllocatorEx ours
    cdef void *block
    if not installed:
        pthread_mutex_init(&lock, NULL)
        PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &before)
        ours.ctx = NULL
        ours.malloc, ours.calloc = reserve_malloc, reserve_calloc
        ours.realloc, ours.free = reserve_realloc, reserve_free
        PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &ours)
        installed = True
    pthread_mutex_lock(&lock)
    while held < BLOCKS:
        block = malloc(BLOCK_LEN)
        if block == NULL:
            break
        blocks[held] = block
        store_int(&held, held + 1)
    pthread_mutex_unlock(&lock)
    return held == BLOCKS


def reserve_low() -> bool:
    """Whether some of the reserve was given up and not filled again since."""
    return installed and load_int(&held) < BLOCKS


def reserve_spend() -> None:
    """Gives up the whole reserve, for an operation that must not fail half-way and needs more than small objects."""
    while give_up_a_block():
        pass


cdef bint give_up_a_block() noexcept nogil:
    """Frees one block of the reserve. False: there is none."""
    global held
    cdef bint had
    pthread_mutex_lock(&lock)
    had = held > 0
    if had:
        store_int(&held, held - 1)
        free(blocks[held])
    pthread_mutex_unlock(&lock)
    return had


cdef void *reserve_malloc(void *ctx, size_t size) noexcept nogil:
    cdef void *memory = before.malloc(before.ctx, size)
    while memory == NULL and size <= SMALL and give_up_a_block():
        memory = before.malloc(before.ctx, size)
    return memory


cdef void *reserve_calloc(void *ctx, size_t count, size_t size) noexcept nogil:
    cdef void *memory = before.calloc(before.ctx, count, size)
    while memory == NULL and count * size <= SMALL and give_up_a_block():
        memory = before.calloc(before.ctx, count, size)
    return memory


cdef void *reserve_realloc(void *ctx, void *old, size_t size) noexcept nogil:
    cdef void *memory = before.realloc(before.ctx, old, size)
    while memory == NULL and size <= SMALL and give_up_a_block():
        memory = before.realloc(before.ctx, old, size)
    return memory


cdef void reserve_free(void *ctx, void *memory) noexcept nogil:
    before.free(before.ctx, memory)
