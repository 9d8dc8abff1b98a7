"""Fuzz target: batches through every backend of the AEAD, beside EVP packet by packet; and Poly1305 beside mac_plain.h.

Lengths, batches, places in memory, counters and forgeries are the input's. What is sealed is the same, opens again, and
does not with one bit changed; no byte beside a datagram changes.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from pywg.dataplane.crypto.aead cimport AEAD_BATCH, Aead, AeadBackend, aead_forget, aead_init, aead_use, open_batch
from pywg.dataplane.crypto.aead cimport seal_batch
from pywg.dataplane.crypto.aead_select cimport aead_backends
from pywg.dataplane.crypto.chacha20poly1305 cimport chapoly_poly1305
from pywg.dataplane.crypto.evp cimport evp_new, evp_rekey, evp_seal
from pywg.dataplane.sys.libcrypto cimport EVP_CIPHER_CTX

from tests.fuzz.native.common cimport need
from tests.fuzz.native.input cimport Input, input8, input16, input64, input_below, input_bytes, input_start

cdef extern from "mac_plain.h" nogil:
    void mac_poly1305(const uint8_t *key, const uint8_t *data, uint32_t len, uint8_t *tag)

cdef enum:
    BACKENDS = 8
    TEXT_MAX = 2048
    TEXTS_MAX = 8192            # bytes of a batch
    HEADER = 16
    TAG = 16
    GAP_MAX = 63
    ROOM = TEXTS_MAX + TEXT_MAX + AEAD_BATCH * (HEADER + TAG + GAP_MAX) + GAP_MAX
    LANES = 16                  # texts that the kernels authenticate at a time
    BLOCKS_MAX = 40
    INDEX = 0x01020304

cdef struct Batch:
    uint8_t *at[AEAD_BATCH]
    uint32_t wire[AEAD_BATCH]
    bint forged[AEAD_BATCH]
    int count
    uint32_t used

cdef const AeadBackend *backends[BACKENDS]
cdef Aead sealers[BACKENDS]
cdef Aead openers[BACKENDS]
cdef int backend_count = 0
cdef void *reference = NULL
cdef uint8_t[ROOM] laid_out
cdef uint8_t[ROOM] sealed


cdef void fill(uint8_t *to, uint32_t len, uint32_t how) noexcept nogil:
    """Zeros and ones are what Poly1305's carries are longest with."""
    cdef uint32_t i
    if how < 2:
        memset(to, 0xFF if how else 0, len)
        return
    for i in range(len):
        to[i] = <uint8_t>(i * how + (i >> 8))


cdef void lay_out(Batch *b, Input *input, uint32_t how) noexcept nogil:
    """Datagrams with gaps between them, in `laid_out`. A step says how long one is, or how far behind the last one."""
    cdef uint32_t len = 0, texts = 0, step, gap, most = input8(input)
    most = 1 + (most % 18 if most < 200 else most % AEAD_BATCH)
    b.count = 0
    b.used = 0
    while b.count < <int>most and texts <= TEXTS_MAX:
        step = input8(input)
        if step & 3 == 1:
            len = input8(input)
        elif step & 3 == 2:
            len = input16(input) % (TEXT_MAX + 1)
        elif step & 3 == 3:
            len = (step >> 2) * 16 + input8(input) % 3 - 1 if step > 3 else 0
        gap = step >> 2 if step & 3 < 2 else 0
        memset(laid_out + b.used, 0xA5, gap)
        b.used += gap
        b.wire[b.count] = HEADER + len + TAG
        b.at[b.count] = laid_out + b.used
        memset(laid_out + b.used, 0xA5, b.wire[b.count])
        fill(laid_out + b.used + HEADER, len, how)
        b.used += b.wire[b.count]
        texts += len
        b.count += 1


cdef void move(Batch *b, uint8_t *to) noexcept nogil:
    """The same in another place."""
    cdef int i
    for i in range(b.count):
        b.at[i] = to + (b.at[i] - laid_out)


cdef void seal_plainly(const Batch *b, uint64_t counter) noexcept nogil:
    """In `sealed`, by EVP, one by one."""
    cdef uint32_t index = INDEX
    cdef uint64_t this
    cdef uint8_t *at
    cdef int i
    for i in range(b.count):
        at = sealed + (b.at[i] - laid_out)
        this = counter + <uint64_t>i
        memset(at, 0, 4)
        at[0] = 4
        memcpy(at + 4, &index, 4)
        memcpy(at + 8, &this, 8)
        need(evp_seal(<EVP_CIPHER_CTX *>reference, this, at + HEADER, b.wire[i] - HEADER - TAG), b"libcrypto fails")


cdef void forge(Batch *b, Input *input) noexcept nogil:
    """One bit of the counter, the text or the tag of some."""
    cdef uint32_t what
    cdef int i
    for i in range(b.count):
        what = input8(input)
        b.forged[i] = what & 1
        if b.forged[i]:
            b.at[i][8 + input16(input) % (b.wire[i] - 8)] ^= <uint8_t>(1 << (what >> 1 & 7))


cdef void open_again(Batch *b, int backend, const uint8_t *buffer) noexcept nogil:
    """What is forged is refused; by the kernels, left as it was."""
    cdef uint8_t *before = <uint8_t *>malloc(b.used)
    cdef uint64_t authentic
    cdef uint32_t text
    cdef int i
    memcpy(before, buffer, b.used)
    authentic = open_batch(&openers[backend], b.at, b.wire, b.count)
    need(b.count == AEAD_BATCH or authentic >> b.count == 0, b"datagrams that there are not")
    for i in range(b.count):
        need((authentic >> i & 1) == (not b.forged[i]), b"a datagram that is authentic or not")
        text = <uint32_t>(b.at[i] - buffer) + HEADER
        if not b.forged[i]:
            memcpy(before + text, laid_out + text, b.wire[i] - HEADER - TAG)
        elif backends[backend].kernel == 0:
            memcpy(before + text, buffer + text, b.wire[i] - HEADER - TAG)
    need(memcmp(before, buffer, b.used) == 0, b"bytes that opening changed")
    free(before)


cdef void batch(Input *input, int backend) noexcept nogil:
    cdef Batch b
    cdef uint8_t key[32]
    cdef uint8_t *buffer
    cdef uint32_t how = input8(input), shape
    cdef uint64_t counter
    fill(key, 32, 3 + how)
    shape = input8(input)
    counter = input64(input) if shape & 7 == 7 else (<uint64_t>1 << (shape & 63)) - (shape >> 6)
    if counter > ~<uint64_t>0 - 8193 - AEAD_BATCH:      # Reject-After-Messages, before which a batch stops
        counter = 0
    lay_out(&b, input, how & 7)
    memcpy(sealed, laid_out, b.used)
    need(evp_rekey(reference, key, True), b"libcrypto fails")
    seal_plainly(&b, counter)
    buffer = <uint8_t *>malloc(b.used)                  # of this length, so that a step outside is seen
    memcpy(buffer, laid_out, b.used)
    move(&b, buffer)
    need(aead_use(&sealers[backend], key) == 0 and aead_use(&openers[backend], key) == 0, b"no key")
    need(seal_batch(&sealers[backend], b.at, b.wire, b.count, INDEX, counter) == 0, b"the library fails")
    need(memcmp(buffer, sealed, b.used) == 0, b"another datagram than EVP's, or bytes beside one")
    forge(&b, input)
    open_again(&b, backend, buffer)
    aead_forget(&sealers[backend])
    aead_forget(&openers[backend])
    free(buffer)


cdef void special(Input *input, uint8_t *to) noexcept nogil:
    """16 bytes whose carries are rare, or any."""
    cdef uint32_t what = input8(input)
    memset(to, 0xFF if what & 1 else 0, 16)
    if what & 6 == 2:
        to[0] = 0xFB
    elif what & 6 == 4:
        memset(to + 8, 0, 8)
    elif what & 6 == 6:
        input_bytes(input, to, 16)
    if what & 8:
        to[15] = 0x80


cdef void poly1305(Input *input, int level) noexcept nogil:
    """The authenticator alone: no packet reaches all of its carries."""
    cdef uint8_t keys[LANES][32]
    cdef uint8_t tags[LANES][16]
    cdef uint8_t *texts[LANES]
    cdef uint32_t lens[LANES]
    cdef uint8_t tag[16]
    cdef uint32_t blocks = 0, k
    cdef int n = 1 + <int>input_below(input, LANES), i
    for i in range(n):
        special(input, keys[i])
        special(input, keys[i] + 16)
        lens[i] = input8(input) % 12
        if blocks + lens[i] > BLOCKS_MAX:
            lens[i] = 0
        blocks += lens[i]
        lens[i] *= 16
        texts[i] = <uint8_t *>malloc(lens[i])
        for k in range(0, lens[i], 16):
            special(input, texts[i] + k)
    chapoly_poly1305(level, keys, texts, lens, n, tags)
    for i in range(n):
        mac_poly1305(keys[i], texts[i], lens[i], tag)
        need(memcmp(tag, tags[i], 16) == 0, b"another tag of Poly1305")
        free(texts[i])


cdef int one(const uint8_t *data, size_t size) noexcept nogil:
    """The first byte: which backend, and whether all of it or its authenticator."""
    cdef Input input
    cdef uint32_t what
    cdef int backend
    input_start(&input, data, size)
    what = input8(&input)
    backend = <int>(what & 0x3F) % backend_count
    if what & 0x80 and backends[backend].kernel:
        poly1305(&input, backends[backend].kernel)
    else:
        batch(&input, backend)
    return 0


def address(str _aead: str) -> int:
    """Where the target is. It takes all backends that are here."""
    global backend_count, reference
    cdef int count = 0, i
    cdef const AeadBackend *table = aead_backends(&count)
    for i in range(count):
        if table[i].is_here(table[i].kernel):
            need(backend_count < BACKENDS, b"more backends")
            backends[backend_count] = &table[i]
            aead_init(&sealers[backend_count], &table[i], True)
            aead_init(&openers[backend_count], &table[i], False)
            backend_count += 1
    reference = evp_new(True)
    need(reference != NULL, b"libcrypto has no ChaCha20-Poly1305")
    return <uintptr_t>&one
