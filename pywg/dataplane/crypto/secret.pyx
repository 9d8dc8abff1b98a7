"""Secrets in memory that C owns: never swapped, dumped or inherited, and wiped when they are freed.

Slots of 64 bytes come from arenas: anonymous mappings with an inaccessible page on either side, locked (best effort:
RLIMIT_MEMLOCK may forbid it, and `locked()` tells), left out of core dumps, and zeros in a forked child. The list of
free slots is outside of the arenas, so that they hold only secrets. Arenas are never unmapped: a process
will need about as many slots again as it once did.

A fork must not happen while another thread allocates: the child would inherit a locked mutex.
"""
from cpython.buffer cimport (
    PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer,
)
from libc.stdint cimport uint8_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy
from posix.mman cimport (
    MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE, madvise, mlock, mmap, mprotect, munmap,
)
from posix.unistd cimport _SC_PAGESIZE, sysconf

cimport cython

from pywg.dataplane.crypto.traces cimport TRACES_TURN, traces_forget
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.sys.libcrypto cimport CRYPTO_memcmp, OPENSSL_cleanse
from pywg.dataplane.sys.linux cimport MADV_DONTDUMP, MADV_WIPEONFORK

cdef extern from * nogil:
    """
    #include <pthread.h>

    static pthread_mutex_t pywg_arena_lock = PTHREAD_MUTEX_INITIALIZER;
    static void pywg_lock_arenas(void) { pthread_mutex_lock(&pywg_arena_lock); }
    static void pywg_unlock_arenas(void) { pthread_mutex_unlock(&pywg_arena_lock); }
    static int pywg_arenas_are_locked(void) { return pthread_mutex_trylock(&pywg_arena_lock) != 0; }
    """
    void lock_arenas "pywg_lock_arenas"()
    void unlock_arenas "pywg_unlock_arenas"()
    bint arenas_are_locked "pywg_arenas_are_locked"()   # for c_assert alone: where it returns False, it has locked them

cdef enum:
    ARENA_LEN = 1 << 16     # a multiple of every Linux page size

cdef uint8_t **free_slots = NULL    # a stack with room for every slot of every arena
cdef size_t free_count = 0
cdef size_t slot_count = 0
cdef bint all_locked = True


cdef uint8_t *secret_alloc() noexcept nogil:
    """64 zero bytes of locked memory, or NULL when there is no more. Any thread."""
    global free_count
    cdef uint8_t *slot = NULL
    lock_arenas()
    if free_count > 0 or add_arena() == 0:
        free_count -= 1
        slot = free_slots[free_count]
    unlock_arenas()
    return slot


cdef void secret_free(uint8_t *slot) noexcept nogil:
    """Wipes and takes back a slot that `secret_alloc` gave; NULL is allowed. Any thread."""
    global free_count
    if slot == NULL:
        return
    OPENSSL_cleanse(slot, SECRET_SLOT_LEN)
    lock_arenas()
    c_assert(free_count < slot_count)       # no slot comes back twice
    free_slots[free_count] = slot
    free_count += 1
    unlock_arenas()


cdef int add_arena() noexcept nogil:
    """Adds an arena's slots to the free slots; -1 when there is no memory. The caller holds the lock."""
    global free_slots, free_count, slot_count, all_locked
    cdef size_t guard = sysconf(_SC_PAGESIZE)
    cdef size_t slots = ARENA_LEN // SECRET_SLOT_LEN, i
    c_assert(arenas_are_locked())
    cdef void *grown = realloc(free_slots, (slot_count + slots) * sizeof(uint8_t *))
    if grown == NULL:
        return -1
    free_slots = <uint8_t **>grown
    cdef void *mapping = mmap(NULL, ARENA_LEN + 2 * guard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if mapping == MAP_FAILED:
        return -1
    cdef uint8_t *arena = <uint8_t *>mapping + guard
    if mprotect(arena, ARENA_LEN, PROT_READ | PROT_WRITE) != 0:
        munmap(mapping, ARENA_LEN + 2 * guard)
        return -1
    if mlock(arena, ARENA_LEN) != 0:
        all_locked = False
    # Both exist since Linux 4.14; a kernel without them leaves the arena as safe as ordinary memory.
    madvise(arena, ARENA_LEN, MADV_DONTDUMP)
    madvise(arena, ARENA_LEN, MADV_WIPEONFORK)
    for i in range(slots):
        free_slots[free_count + i] = arena + (slots - 1 - i) * SECRET_SLOT_LEN
    free_count += slots
    slot_count += slots
    return 0


def locked() -> bool:
    """Whether every arena so far could be locked into memory (mlock)."""
    return all_locked


def wipe(data) -> None:
    """Overwrites `data` with zeros, even an immutable bytes object: for secrets that a library left behind.

    Takes bytes, bytearray, or a contiguous memoryview that is writable or shows a bytes object; anything else is a
    TypeError. The caller makes sure that the object has no other use, as a constant or a key for example. ValueError
    for a bytes object of one byte: the interpreter shares those.
    """
    owner = data.obj if isinstance(data, memoryview) else data
    if not (isinstance(owner, (bytes, bytearray)) or (isinstance(data, memoryview) and not data.readonly)):
        raise TypeError(f"can wipe bytes, bytearray or a writable memoryview, not {type(data).__name__}")
    if isinstance(owner, bytes) and len(owner) == 1:
        raise ValueError("a bytes object of one byte is shared by the whole interpreter")
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    OPENSSL_cleanse(view.buf, view.len)
    PyBuffer_Release(&view)


def wipe_traces() -> None:
    """Wipes what work on secrets has left on this thread's stack, below its caller, and in its registers.

    To be called once a turn of the event loop.
    """
    traces_forget(TRACES_TURN)


@cython.final
cdef class Secret:
    """1 to 64 secret bytes in a locked arena, with a writable buffer; wiped when it is dropped.

    `source` (any contiguous buffer) is copied, and gives the length; without it, `length` zero bytes. ValueError for
    another length, MemoryError when the system gives no more memory. Can't be pickled; only `copy` copies it.
    """

    cdef uint8_t *slot          # NULL once it is wiped and no buffer is out
    cdef Py_ssize_t length
    cdef Py_ssize_t exports     # buffers that are out
    cdef bint wiped

    def __cinit__(self, source=None, *, Py_ssize_t length=32):
        cdef Py_buffer view
        if source is None:
            self.allocate(length)
            return
        PyObject_GetBuffer(source, &view, PyBUF_SIMPLE)
        try:
            self.allocate(view.len)
            memcpy(self.slot, view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    def __dealloc__(self):
        secret_free(self.slot)

    cdef int allocate(self, Py_ssize_t length) except -1:
        if not 1 <= length <= SECRET_SLOT_LEN:
            raise ValueError(f"a secret has 1 to {SECRET_SLOT_LEN} bytes, not {length}")
        self.slot = secret_alloc()
        if self.slot == NULL:
            raise MemoryError("no memory for another secret")
        self.length = length
        return 0

    @classmethod
    def take(cls, source):
        """Copies `source` (bytes or bytearray, with no other use), then wipes it in place."""
        if not isinstance(source, (bytes, bytearray)):
            raise TypeError(f"can only take bytes or bytearray, not {type(source).__name__}")
        secret = cls(source)
        wipe(source)
        return secret

    def copy(self):
        """Another secret of the same bytes. ValueError when wiped."""
        return Secret(self)

    def wipe(self) -> None:
        """Zeros the bytes; idempotent. Buffers that are out show zeros from then on, and a new one is a ValueError."""
        self.wiped = True
        if self.slot != NULL:
            OPENSSL_cleanse(self.slot, SECRET_SLOT_LEN)
            self.let_go()

    cdef void let_go(self) noexcept:
        if self.wiped and self.exports == 0:
            secret_free(self.slot)
            self.slot = NULL

    cdef int check_usable(self) except -1:
        if self.wiped:
            raise ValueError("this secret was wiped")
        return 0

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        self.check_usable()
        PyBuffer_FillInfo(buffer, self, self.slot, self.length, 0, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self.exports -= 1
        self.let_go()

    def __len__(self) -> int:
        return self.length

    def __bool__(self) -> bool:
        """Whether any byte is not zero, in constant time; a wiped secret has none."""
        cdef uint8_t any_bit = 0
        cdef Py_ssize_t i
        if not self.wiped:
            for i in range(self.length):
                any_bit |= self.slot[i]
        return any_bit != 0

    def __eq__(self, other):
        """Compares with a buffer, in constant time if the lengths are equal.

        ValueError when wiped: zeros must not match zeros. The secret has to stand on the left: a bytearray or
        memoryview there compares in its own way.
        """
        cdef Py_buffer view
        if not PyObject_CheckBuffer(other):
            return NotImplemented
        self.check_usable()
        PyObject_GetBuffer(other, &view, PyBUF_SIMPLE)
        try:
            return view.len == self.length and CRYPTO_memcmp(self.slot, view.buf, view.len) == 0
        finally:
            PyBuffer_Release(&view)

    def __repr__(self) -> str:
        return f"<Secret, {self.length} bytes{', wiped' if self.wiped else ''}>"

    def __reduce__(self):
        raise TypeError("a secret can't be pickled or copied implicitly")
