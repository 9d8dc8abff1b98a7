# cython: language_level=3
"""The AEAD's table from inside: which backends were tried, and what becomes of one that is wrong.

test_aead_backends.py builds it, and runs it in processes of their own: what is broken stays so.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from pywg.dataplane.crypto.aead cimport Aead, AeadBackend, OpenTexts, SealTexts, aead_forget, aead_free, aead_init
from pywg.dataplane.crypto.aead cimport aead_use
from pywg.dataplane.crypto.aead_select cimport aead_backends, aead_was_tried
from pywg.dataplane.sys.clock cimport now_ns

cdef SealTexts right_seal
cdef OpenTexts right_open


cdef bint seal_with_another_counter(const Aead *aead, uint64_t first_counter, uint8_t **texts, const uint32_t *lens,
                                    int n) noexcept nogil:
    return right_seal(aead, first_counter + 1, texts, lens, n)


cdef uint64_t open_anything(const Aead *aead, const uint64_t *counters, uint8_t **texts, const uint32_t *lens,
                            int n) noexcept nogil:
    right_open(aead, counters, texts, lens, n)
    return ~<uint64_t>0 >> (64 - n)


cdef bint is_nowhere(int kernel) noexcept nogil:
    return False


def table() -> list[tuple[str, str, bool, bool]]:
    """(name, what it needs, whether it is here, whether it was tried)."""
    cdef int _i, count
    cdef const AeadBackend *entry = aead_backends(&count)
    found = []
    for _i in range(count):
        found.append((entry.name.decode(), entry.needs.decode(), bool(entry.is_here(entry.kernel)),
                      bool(aead_was_tried(entry))))
        entry += 1
    return found


def damage(str name, str how) -> None:
    """From now on the backend seals with another counter, opens what is forged, or isn't here."""
    global right_seal, right_open
    cdef int i, count
    cdef AeadBackend *entry = <AeadBackend *>aead_backends(&count)
    for i in range(count):
        if entry[i].name != name.encode():
            continue
        if how == "seal":
            right_seal = entry[i].seal
            entry[i].seal = seal_with_another_counter
        elif how == "open":
            right_open = entry[i].open
            entry[i].open = open_anything
        else:
            entry[i].is_here = is_nowhere


# ---- a machine that has other work for a while

cdef enum:
    SLOW_NS = 300_000
    DISTURBED_NS = 3_000_000
    DISTURBED_CALLS = 8         # as many as one backend is measured

cdef SealTexts[8] seal_of       # by entry
cdef AeadBackend *entries
cdef int fast, disturbed = 0
cdef bint disturbs = False


cdef bint seal_on_a_busy_machine(const Aead *aead, uint64_t first_counter, uint8_t **texts, const uint32_t *lens,
                                 int n) noexcept nogil:
    """Only one backend is fast. All are slow from its first measurement (counter 0) on, for some calls."""
    global disturbed, disturbs
    cdef int entry = aead.backend - entries
    cdef uint64_t until = now_ns()
    if first_counter == 0:
        disturbs |= entry == fast
        if disturbs and disturbed < DISTURBED_CALLS:
            disturbed += 1
            until += DISTURBED_NS
        elif entry != fast:
            until += SLOW_NS
    while now_ns() < until:
        pass
    return seal_of[entry](aead, first_counter, texts, lens, n)


def disturb(str name) -> None:
    """From now on the machine is busy just when the backend of that name is measured first. It is the fastest one."""
    global entries, fast
    cdef int i, count
    entries = <AeadBackend *>aead_backends(&count)
    for i in range(count):
        seal_of[i] = entries[i].seal
        entries[i].seal = seal_on_a_busy_machine
        if entries[i].name == name.encode():
            fast = i


# ---- a library that does not take every key

cdef enum:
    KEY_LEN = 32
    REFUSED = 0xFF              # first byte of a key that the library does not take

cdef uint8_t[KEY_LEN] context   # the library's only one: the key that it has a copy of


cdef void *new_context(bint seals) noexcept nogil:
    return context


cdef bint rekey(void *_context, const uint8_t *key, bint seals) noexcept nogil:
    if key == NULL:
        memset(context, 0, KEY_LEN)
    elif key[0] == REFUSED:
        return False
    else:
        memcpy(context, key, KEY_LEN)
    return True


cdef void free_context(void *_context) noexcept nogil:
    memset(context, 0, KEY_LEN)


def use(list keys) -> list[tuple[bool, int]]:
    """For the keys of one batch, by their first bytes: (whether it was taken, the key in the context then); 0 for none.

    At the end: the same of the batch's end.
    """
    cdef AeadBackend library
    cdef Aead aead
    cdef uint8_t[4][KEY_LEN] held      # each where its owner has it
    memset(&library, 0, sizeof(library))
    memset(held, 0, sizeof(held))
    library.new_context, library.rekey, library.free_context = new_context, rekey, free_context
    aead_init(&aead, &library, True)
    owners = sorted(set(keys))
    said = []
    for key in keys:
        held[owners.index(key)][0] = key
        taken = aead_use(&aead, held[owners.index(key)]) == 0
        said.append((taken, context[0]))
    aead_forget(&aead)
    said.append((aead.key != NULL, context[0]))
    aead_free(&aead)
    return said
