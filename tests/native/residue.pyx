"""What secret work leaves behind in its thread: the stack below, and the registers, once it has returned.

Each function runs in a thread of its own, always at the same addresses. So two runs whose secrets differ, and nothing
else, leave the same bytes behind, or bytes that depend on the secrets.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cimport cython

from pywg.dataplane.crypto.aead cimport AEAD_BATCH, Aead, aead_forget, aead_free, aead_init, aead_use
from pywg.dataplane.crypto.aead_select cimport aead_choose
from pywg.dataplane.wire.wireguard cimport KEY_LEN, TAG_LEN

cdef extern from "residue.h" nogil:
    enum:
        RESIDUE_STACK
        RESIDUE_VECTORS
        RESIDUE_GENERAL
    struct c_residue "residue":
        uint8_t *found
        uint64_t general[RESIDUE_GENERAL]
        uint8_t vectors[RESIDUE_VECTORS]
    int residue_begin(c_residue *residue)
    void residue_end(c_residue *residue)
    int residue_here()
    int residue_take(c_residue *residue, void (*function)(void *) noexcept nogil, void *argument)

cdef extern from "malloc.h" nogil:
    size_t malloc_usable_size(void *at)

cdef extern from *:
    """
    #include "chacha20poly1305/chapoly.h"

    #if defined(__x86_64__)
    /* A kernel as it is, but that nothing is forgotten after it: sealing of a group. */
    static void seal_and_keep(int level, const uint8_t *key, uint64_t counter, uint8_t **texts, const uint32_t *lens,
                              int n)
    {
        struct chapoly_work work;
        struct chapoly_group group;
        int i;
        memset(&work, 0, sizeof work);
        start_work(&work, key);
        group.count = n < CHAPOLY_GROUP ? n : CHAPOLY_GROUP;
        for (i = 0; i < group.count; i++) {
            group.text[i] = texts[i];
            group.len[i] = lens[i];
            group.counter[i] = counter + (uint64_t)i;
        }
        seal_group(level, &work, &group);
    }
    #else
    static void seal_and_keep(int level, const uint8_t *key, uint64_t counter, uint8_t **texts, const uint32_t *lens,
                              int n)
    {
    }
    #endif
    """
    void seal_and_keep(int level, const uint8_t *key, uint64_t counter, uint8_t **texts, const uint32_t *lens,
                       int n) nogil

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    enum { MARKED = 32 << 10, APART = 4 << 10, MARK = 0xC3 };   /* bytes below the caller; the first are left out */

    #if defined(__x86_64__)
    __attribute__((target("avx512f"), noinline)) static void mark_vectors(void)
    {
        __asm__ __volatile__("vpternlogd $0xff, %%zmm24, %%zmm24, %%zmm24; vpternlogd $0xff, %%zmm31, %%zmm31, %%zmm31"
                             : : : "xmm24", "xmm31");
    }

    __attribute__((target("avx512f"), noinline)) static int marked_vectors(void)
    {
        uint64_t found[16];
        int i, count = 0;
        __asm__ __volatile__("vmovdqu64 %%zmm24, (%0); vmovdqu64 %%zmm31, 64(%0)" : : "r"(found) : "memory");
        for (i = 0; i < 16; i++)
            count += found[i] == UINT64_MAX;
        return count;
    }

    static int has_vectors(void)
    {
        __builtin_cpu_init();
        return __builtin_cpu_supports("avx512f") != 0;
    }
    #else
    static void mark_vectors(void) {}
    static int marked_vectors(void) { return 0; }
    static int has_vectors(void) { return 0; }
    #endif

    __attribute__((noinline)) static void mark_stack(void)
    {
        volatile uint8_t below[MARKED];
        size_t i;
        for (i = 0; i < MARKED; i++)
            below[i] = MARK;
        __asm__ __volatile__("" : : "r"(below) : "memory");
    }

    __attribute__((noinline)) static int marked_stack(void)
    {
        volatile uint8_t below[MARKED];     /* as mark_stack() left it */
        const volatile uint8_t *found = below;
        int i, count = 0;
        __asm__ __volatile__("" : "+r"(found));
        for (i = 0; i < MARKED - APART; i++)
            count += found[i] == MARK;
        return count;
    }
    """
    void mark_stack() nogil
    int marked_stack() nogil
    void mark_vectors() nogil
    int marked_vectors() nogil
    bint has_vectors() nogil

cdef enum:
    TEXT_MAX = 2048


def here() -> bool:
    """Whether this machine's registers can be read: x86-64 with AVX."""
    return residue_here() != 0


def mark() -> None:
    """Leaves marks in this thread: on its stack, below the caller, and in registers that only AVX-512 has."""
    if has_vectors():
        mark_vectors()
    mark_stack()


def marks() -> tuple[int, int]:
    """How many of the marks are left: on the stack, in the registers. The caller has to be the one of `mark`."""
    cdef int vectors = marked_vectors() if has_vectors() else 0
    return marked_stack(), vectors


cdef struct Batch:
    Aead aead
    uint8_t key[KEY_LEN]
    uint64_t counters[AEAD_BATCH]
    uint8_t *texts[AEAD_BATCH]
    uint32_t lens[AEAD_BATCH]
    int count
    bint forgets
    uint64_t authentic
    uint8_t memory[AEAD_BATCH][TEXT_MAX + TAG_LEN]


cdef void seal(void *argument) noexcept nogil:
    cdef Batch *batch = <Batch *>argument
    batch.aead.key = NULL       # where the one before was not forgotten
    if not batch.forgets and batch.aead.backend.rekey == NULL:
        seal_and_keep(batch.aead.backend.kernel, batch.key, batch.counters[0], batch.texts, batch.lens, batch.count)
        return
    aead_use(&batch.aead, batch.key)
    batch.aead.backend.seal(&batch.aead, batch.counters[0], batch.texts, batch.lens, batch.count)
    if batch.forgets:
        aead_forget(&batch.aead)


cdef void open(void *argument) noexcept nogil:
    cdef Batch *batch = <Batch *>argument
    batch.aead.key = NULL       # where the one before was not forgotten
    aead_use(&batch.aead, batch.key)
    batch.authentic = batch.aead.backend.open(&batch.aead, batch.counters, batch.texts, batch.lens, batch.count)
    if batch.forgets:
        aead_forget(&batch.aead)


@cython.final
cdef class AeadResidue:
    """Batches of one backend: what sealing or opening one leaves behind."""
    cdef c_residue places
    cdef Batch batch

    def __cinit__(self, str aead, *, bint seals, bint forgets=True):
        memset(&self.batch, 0, sizeof(Batch))
        if residue_begin(&self.places) != 0:
            raise MemoryError
        aead_init(&self.batch.aead, aead_choose(aead), seals)
        self.batch.forgets = forgets

    def __dealloc__(self):
        aead_free(&self.batch.aead)
        residue_end(&self.places)

    def run(self, bytes key, list texts, uint64_t counter=0) -> tuple[bytes, bytes, list[bytes]]:
        """(registers, stack, the texts after it). To open, the texts end in their tags."""
        cdef Batch *batch = &self.batch
        cdef bytes text
        cdef int failed, i, tag = 0 if batch.aead.seals else TAG_LEN
        batch.count = <int>len(texts)
        memcpy(batch.key, PyBytes_AS_STRING(key), KEY_LEN)
        for i, text in enumerate(texts):
            batch.texts[i] = batch.memory[i]
            batch.lens[i] = <uint32_t>(len(text) - tag)
            batch.counters[i] = counter + <uint64_t>i
            memcpy(batch.memory[i], PyBytes_AS_STRING(text), len(text))
        with nogil:
            failed = residue_take(&self.places, seal if batch.aead.seals else open, batch)
        if failed:
            raise RuntimeError("no thread, or a machine without AVX")
        return (PyBytes_FromStringAndSize(<char *>self.places.general, RESIDUE_GENERAL * 8)
                + PyBytes_FromStringAndSize(<char *>self.places.vectors, RESIDUE_VECTORS),
                PyBytes_FromStringAndSize(<char *>self.places.found, RESIDUE_STACK),
                [batch.memory[i][:len(text) - tag + TAG_LEN] for i, text in enumerate(texts)])

    def context(self) -> bytes:
        """The memory of the library's context; empty where the backend has none."""
        cdef void *at = self.batch.aead.context
        return PyBytes_FromStringAndSize(<char *>at, malloc_usable_size(at)) if at != NULL else b""
