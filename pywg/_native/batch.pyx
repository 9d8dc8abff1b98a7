"""The AEAD stage on plain bytes, for tests and benchmarks: what the threads do in place, one batch at a time."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from pywg._native.aead cimport aead_free, aead_opener, aead_sealer, open_in_place, seal_run
from pywg._native.clock cimport now_ns
from pywg._native.libcrypto cimport EVP_CIPHER_CTX, EVP_CIPHER_CTX_ctrl, EVP_CTRL_AEAD_GET_TAG, EVP_EncryptFinal_ex
from pywg._native.libcrypto cimport EVP_EncryptInit_ex, EVP_EncryptUpdate
from pywg._native.segment cimport Run
from pywg._native.session cimport REJECT_AFTER_MESSAGES
from pywg._native.wire cimport KEY_LEN, MESSAGE_TRANSPORT, TAG_LEN, TRANSPORT_MIN_LEN, WG_HEADER_LEN, TransportHeader
from pywg._native.wire cimport padded_len


cdef int check_key(const uint8_t[::1] key) except -1:
    if key.shape[0] != KEY_LEN:
        raise ValueError("a transport key is 32 bytes")
    return 0


def seal_batch(const uint8_t[::1] key, uint64_t counter, packets: list[bytes], uint32_t receiver_index=0,
               uint32_t mtu=65535) -> list[bytes]:
    """Transport messages (paper section 5.4.6) of these packets, padded to 16 but not past the MTU.

    The counters follow each other from `counter` on; ValueError when they would reach Reject-After-Messages.
    """
    cdef EVP_CIPHER_CTX *ctx
    cdef list sealed = []
    cdef bytes packet, datagram
    cdef Run run
    cdef uint32_t wire
    check_key(key)
    if counter >= REJECT_AFTER_MESSAGES - <uint64_t>len(packets):
        raise ValueError("the counter has reached Reject-After-Messages")
    ctx = aead_sealer(&key[0])
    if ctx == NULL:
        raise MemoryError
    try:
        for packet in packets:
            wire = WG_HEADER_LEN + padded_len(<uint32_t>len(packet), mtu) + TAG_LEN
            datagram = PyBytes_FromStringAndSize(NULL, wire)
            run.base = <uint8_t *>PyBytes_AS_STRING(datagram)
            run.count = 1
            run.inner_len = run.last_len = <uint32_t>len(packet)
            run.stride = run.last_wire = wire
            memset(run.base, 0, wire)
            memcpy(run.base + WG_HEADER_LEN, PyBytes_AS_STRING(packet), len(packet))
            if seal_run(ctx, &run, receiver_index, counter) != 0:
                raise RuntimeError("libcrypto could not seal")
            counter += 1
            sealed.append(datagram)
    finally:
        aead_free(ctx)
    return sealed


def open_batch(const uint8_t[::1] key, datagrams: list[bytes]) -> list[bytes | None]:
    """The padded inner packets of transport messages; None for what is malformed or forged."""
    cdef EVP_CIPHER_CTX *ctx
    cdef list opened = []
    cdef bytes datagram, copy
    cdef uint8_t *at
    cdef uint32_t text_len
    check_key(key)
    ctx = aead_opener(&key[0])
    if ctx == NULL:
        raise MemoryError
    try:
        for datagram in datagrams:
            if len(datagram) < TRANSPORT_MIN_LEN or datagram[:4] != bytes((MESSAGE_TRANSPORT, 0, 0, 0)):
                opened.append(None)
                continue
            text_len = <uint32_t>len(datagram) - WG_HEADER_LEN - TAG_LEN
            copy = PyBytes_FromStringAndSize(PyBytes_AS_STRING(datagram), len(datagram))
            at = <uint8_t *>PyBytes_AS_STRING(copy)
            if open_in_place(ctx, (<TransportHeader *>at).counter, at + WG_HEADER_LEN, text_len):
                opened.append(copy[WG_HEADER_LEN:WG_HEADER_LEN + text_len])
            else:
                opened.append(None)
    finally:
        aead_free(ctx)
    return opened


def bench_seal(uint32_t packet_len, uint32_t batch, uint32_t rounds) -> float:
    """Nanoseconds a packet of `seal_run` over `rounds` runs of `batch` (1..64) packets, without the GIL."""
    cdef uint8_t key[KEY_LEN]
    cdef Run run
    cdef uint64_t start, counter = 0
    cdef uint32_t _i
    cdef EVP_CIPHER_CTX *ctx
    if not 1 <= batch <= 64:
        raise ValueError("a run has 1 to 64 datagrams")
    memset(key, 7, sizeof(key))
    run.count = batch
    run.inner_len = run.last_len = packet_len
    run.stride = run.last_wire = WG_HEADER_LEN + packet_len + TAG_LEN
    run.base = <uint8_t *>calloc(batch, run.stride)
    ctx = aead_sealer(key)
    if run.base == NULL or ctx == NULL:
        free(run.base)
        raise MemoryError
    with nogil:
        start = now_ns()
        for _i in range(rounds):
            seal_run(ctx, &run, 1, counter)
            counter += batch
        start = now_ns() - start
    aead_free(ctx)
    free(run.base)
    return <double>start / (<uint64_t>rounds * batch)


def bench_evp(uint32_t packet_len, uint32_t batch, uint32_t rounds) -> float:
    """Nanoseconds a packet of the bare EVP calls in a C loop: the same bytes, but no header, no run."""
    cdef uint8_t key[KEY_LEN]
    cdef uint64_t nonce[2]
    cdef uint8_t *text = <uint8_t *>calloc(batch, packet_len + TAG_LEN)
    cdef uint8_t *at
    cdef uint64_t start
    cdef uint32_t _i, _k
    cdef int n
    cdef EVP_CIPHER_CTX *ctx
    memset(key, 7, sizeof(key))
    ctx = aead_sealer(key)
    if text == NULL or ctx == NULL:
        free(text)
        raise MemoryError
    nonce[0] = nonce[1] = 0
    with nogil:
        start = now_ns()
        for _i in range(rounds):
            at = text
            for _k in range(batch):
                nonce[1] += 1
                EVP_EncryptInit_ex(ctx, NULL, NULL, NULL, <const uint8_t *>nonce + 4)
                EVP_EncryptUpdate(ctx, at, &n, at, <int>packet_len)
                EVP_EncryptFinal_ex(ctx, at + packet_len, &n)
                EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, at + packet_len)
                at += packet_len + TAG_LEN
        start = now_ns() - start
    aead_free(ctx)
    free(text)
    return <double>start / (<uint64_t>rounds * batch)
