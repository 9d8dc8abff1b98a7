"""The batch kernels of chapoly/ for the threads, and on plain buffers for tests and benchmarks."""
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from pywg.dataplane.sys.clock cimport now_ns
from pywg.dataplane.wire.wireguard cimport KEY_LEN, TAG_LEN

cdef extern from "chacha20poly1305/chapoly.h" nogil:
    enum:
        CHAPOLY_NONE
        CHAPOLY_LEVEL_AVX2
        CHAPOLY_LEVEL_AVX512
        CHAPOLY_LEVEL_IFMA
    int c_best "chapoly_best"()
    void c_seal "chapoly_seal"(int level, const uint8_t *key, uint64_t first_counter, uint8_t **text,
                               const uint32_t *length, int n)
    uint64_t c_open "chapoly_open"(int level, const uint8_t *key, const uint64_t *counter, uint8_t **text,
                                   const uint32_t *length, int n)
    void c_poly1305 "chapoly_poly1305"(int level, const uint8_t (*one_time)[32], uint8_t **text, const uint32_t *length,
                                       int n, uint8_t (*tag)[16])

cdef enum:
    BATCH = 64       # packets a call
    POLY_BATCH = 16  # one-time keys a call of poly1305


cdef int chapoly_best() noexcept nogil:
    """The best level of this CPU: 0 none, 2 AVX2, 5 AVX-512, 6 AVX-512 with IFMA. Ask once."""
    return c_best()


cdef void chapoly_seal(int level, const uint8_t *key, uint64_t first_counter, uint8_t **texts, const uint32_t *lens,
                       int count) noexcept nogil:
    """Encrypts the texts in place, with counters from `first_counter` on, and writes 16 bytes of tag behind each."""
    c_seal(level, key, first_counter, texts, lens, count)


cdef uint64_t chapoly_open(int level, const uint8_t *key, const uint64_t *counters, uint8_t **texts,
                           const uint32_t *lens, int count) noexcept nogil:
    """At most 64 texts, a tag behind each. Bit i: the i-th was authentic and is decrypted; else it is as it was."""
    return c_open(level, key, counters, texts, lens, count)


def best() -> int:
    """The best level of this CPU and operating system: 0 none, 2 AVX2, 5 AVX-512 (F, VL, BW), 6 with IFMA."""
    return c_best()


def levels() -> tuple[int, ...]:
    """Every level that this CPU has, from the plainest up."""
    cdef int top = c_best()
    return tuple(level for level in (CHAPOLY_LEVEL_AVX2, CHAPOLY_LEVEL_AVX512, CHAPOLY_LEVEL_IFMA) if level <= top)


cdef int check(int level, const uint8_t[::1] key) except -1:
    if level not in levels():
        raise ValueError(f"this CPU has no level {level}")
    if key.shape[0] != KEY_LEN:
        raise ValueError("a transport key is 32 bytes")
    return 0


cdef int find_texts(uint8_t[::1] buffer, list places, uint8_t **texts, uint32_t *lens) except -1:
    """The texts at these (offset, length) of the buffer, each followed by its tag. Returns how many."""
    cdef int i = 0
    if len(places) > BATCH:
        raise ValueError(f"a batch has at most {BATCH} packets")
    for offset, length in places:
        if offset < 0 or length < 0 or offset + length + TAG_LEN > buffer.shape[0]:
            raise ValueError(f"{length} bytes at {offset} and a tag don't fit into the buffer")
        texts[i] = &buffer[0] + <size_t>offset
        lens[i] = <uint32_t>length
        i += 1
    return i


def seal(int level, const uint8_t[::1] key, uint64_t first_counter, uint8_t[::1] buffer,
         places: list[tuple[int, int]]) -> None:
    """Seals the texts at these (offset, length) of `buffer` in place; each has 16 bytes behind it for its tag.

    The counters follow each other from `first_counter` on (paper section 5.4.6); at most 64 texts.
    """
    cdef uint8_t *texts[BATCH]
    cdef uint32_t lens[BATCH]
    cdef int count
    check(level, key)
    count = find_texts(buffer, places, texts, lens)
    with nogil:
        c_seal(level, &key[0], first_counter, texts, lens, count)


def open_(int level, const uint8_t[::1] key, counters: list[int], uint8_t[::1] buffer,
          places: list[tuple[int, int]]) -> list[bool]:
    """Opens sealed texts, as `seal` left them, in place. Which were authentic; the others are left as they were."""
    cdef uint8_t *texts[BATCH]
    cdef uint32_t lens[BATCH]
    cdef uint64_t numbers[BATCH]
    cdef uint64_t authentic
    cdef int i, count
    check(level, key)
    count = find_texts(buffer, places, texts, lens)
    if len(counters) != count:
        raise ValueError("each text has its counter")
    for i in range(count):
        numbers[i] = counters[i]
    with nogil:
        authentic = c_open(level, &key[0], numbers, texts, lens, count)
    return [bool(authentic >> i & 1) for i in range(count)]


def poly1305(int level, keys: list[bytes], messages: list[bytes]) -> list[bytes]:
    """Poly1305 (RFC 8439 section 2.5) of up to 16 messages of whole 16-byte blocks, each with its own 32-byte key."""
    cdef uint8_t *texts[POLY_BATCH]
    cdef uint32_t lens[POLY_BATCH]
    cdef uint8_t one_time[POLY_BATCH][32]
    cdef uint8_t tags[POLY_BATCH][16]
    cdef bytes key, message
    cdef int i, count = <int>len(keys)
    if level not in levels():
        raise ValueError(f"this CPU has no level {level}")
    if count > POLY_BATCH or len(messages) != count:
        raise ValueError(f"up to {POLY_BATCH} messages, each with its key")
    for i in range(count):
        key, message = keys[i], messages[i]
        if len(key) != sizeof(one_time[i]) or len(message) % 16 != 0:
            raise ValueError("a key is 32 bytes, a message whole blocks of 16")
        memcpy(one_time[i], PyBytes_AS_STRING(key), sizeof(one_time[i]))
        texts[i] = <uint8_t *>PyBytes_AS_STRING(message)
        lens[i] = <uint32_t>len(message)
    if count != 0:
        c_poly1305(level, one_time, texts, lens, count, tags)
    return [tags[i][:16] for i in range(count)]


cdef double time_batches(int level, uint32_t packet_len, uint32_t batch, uint32_t rounds, bint opening) except -1:
    """Nanoseconds a packet. Opening is timed a batch at a time, because each has to be sealed before."""
    cdef uint8_t key[KEY_LEN]
    cdef uint8_t *texts[BATCH]
    cdef uint32_t lens[BATCH]
    cdef uint64_t counters[BATCH]
    cdef uint64_t start, total = 0
    cdef uint32_t i, _round
    cdef uint32_t stride = packet_len + TAG_LEN
    cdef uint8_t *memory
    if not 1 <= batch <= BATCH or rounds < 1:
        raise ValueError(f"a batch has 1 to {BATCH} packets")
    memset(key, 7, sizeof(key))
    check(level, <uint8_t[:KEY_LEN]>key)
    memory = <uint8_t *>calloc(batch, stride)
    if memory == NULL:
        raise MemoryError
    for i in range(batch):
        texts[i] = memory + <size_t>i * stride
        lens[i] = packet_len
        counters[i] = i
    with nogil:
        start = now_ns()
        for _round in range(rounds):
            c_seal(level, key, 0, texts, lens, <int>batch)
            if opening:
                start = now_ns()
                c_open(level, key, counters, texts, lens, <int>batch)
                total += now_ns() - start
        if not opening:
            total = now_ns() - start
    free(memory)
    return <double>total / (<uint64_t>rounds * batch)


def bench(int level, uint32_t packet_len, uint32_t batch, uint32_t rounds) -> float:
    """Nanoseconds a packet of sealing `rounds` batches of `batch` (1..64) packets, without the GIL."""
    return time_batches(level, packet_len, batch, rounds, False)


def bench_open(int level, uint32_t packet_len, uint32_t batch, uint32_t rounds) -> float:
    """Nanoseconds a packet of opening authentic batches, with about 50 for the clock added to each batch."""
    return time_batches(level, packet_len, batch, rounds, True)
