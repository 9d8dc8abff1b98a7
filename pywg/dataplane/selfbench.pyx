"""Timing of the AEAD's backends, a batch at a time as the threads call them: for `pywg bench`.

`aead` is the name of a backend, or "auto", as for a plane. Times are nanoseconds a packet, without the GIL.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from pywg.dataplane.crypto.aead cimport AEAD_BATCH, Aead, aead_forget, aead_free, aead_init, aead_use, open_batch
from pywg.dataplane.crypto.aead cimport seal_batch, seal_run
from pywg.dataplane.crypto.aead_select cimport aead_choose
from pywg.dataplane.sys.clock cimport now_ns
from pywg.dataplane.wire.run cimport Run
from pywg.dataplane.wire.wireguard cimport KEY_LEN, TAG_LEN, WG_HEADER_LEN

cdef uint8_t[KEY_LEN] KEY   # zeros: what a cipher costs does not depend on its key


cdef struct Bench:
    Aead sealer, opener
    uint32_t stride
    uint8_t *memory         # a batch of datagrams


cdef int begin(Bench *b, str aead, uint32_t packet_len, uint32_t batch) except -1:
    """The caller has to end it, but not after an exception."""
    if not 1 <= batch <= AEAD_BATCH:
        raise ValueError("a batch has 1 to 64 datagrams")
    aead_init(&b.sealer, aead_choose(aead), True)
    aead_init(&b.opener, b.sealer.backend, False)
    b.stride = WG_HEADER_LEN + packet_len + TAG_LEN
    b.memory = <uint8_t *>calloc(batch, b.stride)
    if b.memory == NULL or aead_use(&b.sealer, KEY) < 0 or aead_use(&b.opener, KEY) < 0:
        end(b)
        raise MemoryError
    return 0


cdef void end(Bench *b) noexcept:
    aead_free(&b.sealer)
    aead_free(&b.opener)
    free(b.memory)


def bench_seal(str aead, uint32_t packet_len, uint32_t batch, uint32_t rounds) -> float:
    """Times the sealing of `rounds` runs of `batch` (1..64) packets."""
    cdef Bench b
    cdef Run run
    cdef uint64_t start, counter = 0
    cdef uint32_t _i
    begin(&b, aead, packet_len, batch)
    run.count = batch
    run.inner_len = run.last_len = packet_len
    run.stride = run.last_wire = b.stride
    run.base = b.memory
    with nogil:
        start = now_ns()
        for _i in range(rounds):
            aead_use(&b.sealer, KEY)
            seal_run(&b.sealer, &run, 1, counter)
            aead_forget(&b.sealer)
            counter += batch
        start = now_ns() - start
    end(&b)
    return <double>start / (<uint64_t>rounds * batch)


def bench_open(str aead, uint32_t packet_len, uint32_t batch, uint32_t rounds) -> float:
    """Times the opening of `rounds` batches of `batch` (1..64) packets. RuntimeError: a packet is not authentic.

    Each batch is timed alone, because it has to be sealed before: the clock adds some tens of ns to each.
    """
    cdef Bench b
    cdef uint8_t *at[AEAD_BATCH]
    cdef uint32_t wire_lens[AEAD_BATCH]
    cdef uint64_t start, total = 0, missing = 0
    cdef uint32_t _i, i
    begin(&b, aead, packet_len, batch)
    for i in range(batch):
        at[i] = b.memory + <size_t>i * b.stride
        wire_lens[i] = b.stride
    with nogil:
        for _i in range(rounds):
            seal_batch(&b.sealer, at, wire_lens, <int>batch, 1, 0)
            start = now_ns()
            aead_use(&b.opener, KEY)
            missing |= open_batch(&b.opener, at, wire_lens, <int>batch) ^ (~<uint64_t>0 >> (AEAD_BATCH - batch))
            aead_forget(&b.opener)
            total += now_ns() - start
    end(&b)
    if missing:
        raise RuntimeError("what was sealed could not be opened")
    return <double>total / (<uint64_t>rounds * batch)
