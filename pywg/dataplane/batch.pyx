"""The AEAD stage on plain bytes, for tests and benchmarks: what the threads do, one batch or superframe at a time."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from pywg.dataplane.crypto.aead cimport AEAD_BATCH, Aead, aead_forget, aead_free, aead_use, open_batch as open_datagrams
from pywg.dataplane.crypto.aead cimport seal_batch as seal_datagrams, seal_run
from pywg.dataplane.send.segment cimport segment_frame
from pywg.dataplane.sys.clock cimport now_ns
from pywg.dataplane.sys.libcrypto cimport EVP_CIPHER_CTX, EVP_CTRL_AEAD_GET_TAG, EVP_CIPHER_CTX_ctrl
from pywg.dataplane.sys.libcrypto cimport EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_EncryptFinal_ex
from pywg.dataplane.sys.libcrypto cimport EVP_EncryptInit_ex, EVP_EncryptUpdate, EVP_chacha20_poly1305
from pywg.dataplane.wire.ip cimport IpView, ip_read
from pywg.dataplane.wire.limits cimport REJECT_AFTER_MESSAGES
from pywg.dataplane.wire.run cimport Run
from pywg.dataplane.wire.virtio cimport VNET_HDR_LEN, VnetHdr
from pywg.dataplane.wire.wireguard cimport KEY_LEN, MESSAGE_TRANSPORT, TAG_LEN, TRANSPORT_MIN_LEN, WG_HEADER_LEN
from pywg.dataplane.wire.wireguard cimport padded_len

cdef enum:
    MAX_RUNS = 16
    OUT_LEN = 200_000


cdef int check_key(const uint8_t[::1] key) except -1:
    if key.shape[0] != KEY_LEN:
        raise ValueError("a transport key is 32 bytes")
    return 0


def seal_batch(const uint8_t[::1] key, uint64_t counter, packets: list[bytes], uint32_t receiver_index=0,
               uint32_t mtu=65535) -> list[bytes]:
    """Transport messages (paper section 5.4.6) of these packets, padded to 16 but not past the MTU.

    The counters follow each other from `counter` on; ValueError when they would reach Reject-After-Messages.
    """
    cdef Aead aead
    cdef uint8_t *at[AEAD_BATCH]
    cdef uint32_t wire_lens[AEAD_BATCH]
    cdef list sealed = []
    cdef bytes packet, datagram
    cdef int n = 0
    check_key(key)
    memset(&aead, 0, sizeof(aead))
    aead.seals = True
    if counter >= REJECT_AFTER_MESSAGES - <uint64_t>len(packets):
        raise ValueError("the counter has reached Reject-After-Messages")
    try:
        if aead_use(&aead, &key[0]) < 0:
            raise MemoryError
        for packet in packets:
            wire_lens[n] = WG_HEADER_LEN + padded_len(<uint32_t>len(packet), mtu) + TAG_LEN
            datagram = PyBytes_FromStringAndSize(NULL, wire_lens[n])
            at[n] = <uint8_t *>PyBytes_AS_STRING(datagram)
            memset(at[n], 0, wire_lens[n])
            memcpy(at[n] + WG_HEADER_LEN, PyBytes_AS_STRING(packet), len(packet))
            sealed.append(datagram)
            n += 1
            if n == AEAD_BATCH or len(sealed) == len(packets):
                if seal_datagrams(&aead, at, wire_lens, n, receiver_index, counter) != 0:
                    raise RuntimeError("libcrypto could not seal")
                counter += <uint64_t>n
                n = 0
    finally:
        aead_free(&aead)
    return sealed


cdef bint has_transport_header(bytes datagram):
    return len(datagram) >= TRANSPORT_MIN_LEN and datagram[:4] == bytes((MESSAGE_TRANSPORT, 0, 0, 0))


def open_batch(const uint8_t[::1] key, datagrams: list[bytes]) -> list[bytes | None]:
    """The padded inner packets of transport messages; None for what is malformed or forged."""
    cdef Aead aead
    cdef uint8_t *at[AEAD_BATCH]
    cdef uint32_t wire_lens[AEAD_BATCH]
    cdef uint64_t authentic
    cdef list opened = [None] * len(datagrams)
    cdef list places = [i for i, datagram in enumerate(datagrams) if has_transport_header(datagram)]
    cdef list copies
    cdef bytes copy
    cdef int n
    check_key(key)
    memset(&aead, 0, sizeof(aead))
    try:
        if aead_use(&aead, &key[0]) < 0:
            raise MemoryError
        while places:
            copies = []
            for n, place in enumerate(places[:AEAD_BATCH]):
                copy = PyBytes_FromStringAndSize(PyBytes_AS_STRING(datagrams[place]), len(datagrams[place]))
                copies.append(copy)
                at[n] = <uint8_t *>PyBytes_AS_STRING(copy)
                wire_lens[n] = <uint32_t>len(copy)
            authentic = open_datagrams(&aead, at, wire_lens, <int>len(copies))
            for n, copy in enumerate(copies):
                if (authentic >> n) & 1:
                    opened[places[n]] = copy[WG_HEADER_LEN:-TAG_LEN]
            del places[:AEAD_BATCH]
    finally:
        aead_free(&aead)
    return opened


def bench_seal(uint32_t packet_len, uint32_t batch, uint32_t rounds) -> float:
    """Nanoseconds a packet of sealing `rounds` runs of `batch` (1..64) packets as the threads do, without the GIL."""
    cdef uint8_t key[KEY_LEN]
    cdef Run run
    cdef uint64_t start, counter = 0
    cdef uint32_t _i
    cdef Aead aead
    if not 1 <= batch <= 64:
        raise ValueError("a run has 1 to 64 datagrams")
    memset(key, 7, sizeof(key))
    memset(&aead, 0, sizeof(aead))
    aead.seals = True
    run.count = batch
    run.inner_len = run.last_len = packet_len
    run.stride = run.last_wire = WG_HEADER_LEN + packet_len + TAG_LEN
    run.base = <uint8_t *>calloc(batch, run.stride)
    if aead_use(&aead, key) < 0 or run.base == NULL:
        aead_free(&aead)
        free(run.base)
        raise MemoryError
    with nogil:
        start = now_ns()
        for _i in range(rounds):
            aead_use(&aead, key)
            seal_run(&aead, &run, 1, counter)
            aead_forget(&aead)
            counter += batch
        start = now_ns() - start
    aead_free(&aead)
    free(run.base)
    return <double>start / (<uint64_t>rounds * batch)


cdef int seal_frame(Aead *aead, const VnetHdr *hdr, const uint8_t[::1] packet, uint32_t mtu, uint8_t *out, Run *runs,
                    uint64_t counter) noexcept nogil:
    """Cuts and seals a superframe, as the outbound thread does. The number of runs, or SEG_*."""
    cdef IpView ip
    cdef int i, n
    ip_read(&ip, <uint8_t *>&packet[0], <uint32_t>packet.shape[0])
    n = segment_frame(hdr, &ip, mtu, out, OUT_LEN, runs, MAX_RUNS)
    for i in range(n):
        seal_run(aead, &runs[i], 1, counter)
        counter += runs[i].count
    return n


def bench_superframe(const uint8_t[::1] vnet_hdr, const uint8_t[::1] packet, uint32_t mtu, uint32_t rounds) -> float:
    """Nanoseconds a superframe of cutting it into datagrams and sealing those, without the GIL."""
    cdef uint8_t key[KEY_LEN]
    cdef Run runs[MAX_RUNS]
    cdef VnetHdr hdr
    cdef uint8_t *out = <uint8_t *>calloc(1, OUT_LEN)
    cdef uint64_t start
    cdef uint32_t _i
    cdef int n = 0
    cdef Aead aead
    memset(key, 7, sizeof(key))
    memset(&aead, 0, sizeof(aead))
    aead.seals = True
    memcpy(&hdr, &vnet_hdr[:VNET_HDR_LEN][0], VNET_HDR_LEN)
    if aead_use(&aead, key) < 0 or out == NULL:
        aead_free(&aead)
        free(out)
        raise MemoryError
    with nogil:
        start = now_ns()
        for _i in range(rounds):
            n = seal_frame(&aead, &hdr, packet, mtu, out, runs, 0)
        start = now_ns() - start
    aead_free(&aead)
    free(out)
    if n <= 0:
        raise ValueError("not a superframe that can be cut")
    return <double>start / rounds


def bench_open(uint32_t packet_len, uint32_t batch, uint32_t rounds) -> float:
    """Nanoseconds a packet of opening `rounds` batches of `batch` (1..64) authentic packets, without the GIL.

    Timed a batch at a time, because each has to be sealed before: the clock adds some tens of ns to each batch.
    """
    cdef uint8_t key[KEY_LEN]
    cdef uint8_t *at[AEAD_BATCH]
    cdef uint32_t wire_lens[AEAD_BATCH]
    cdef uint64_t start, total = 0, missing = 0, all_authentic
    cdef uint32_t _i, i, stride = WG_HEADER_LEN + packet_len + TAG_LEN
    cdef uint8_t *memory
    cdef Aead sealer, opener
    if not 1 <= batch <= AEAD_BATCH:
        raise ValueError("a batch has 1 to 64 datagrams")
    memset(key, 7, sizeof(key))
    memset(&sealer, 0, sizeof(sealer))
    memset(&opener, 0, sizeof(opener))
    sealer.seals = True
    all_authentic = ~<uint64_t>0 >> (AEAD_BATCH - batch)
    memory = <uint8_t *>calloc(batch, stride)
    if memory == NULL or aead_use(&sealer, key) < 0 or aead_use(&opener, key) < 0:
        aead_free(&sealer)
        aead_free(&opener)
        free(memory)
        raise MemoryError
    for i in range(batch):
        at[i] = memory + <size_t>i * stride
        wire_lens[i] = stride
    with nogil:
        for _i in range(rounds):
            seal_datagrams(&sealer, at, wire_lens, <int>batch, 1, 0)
            start = now_ns()
            aead_use(&opener, key)
            missing |= open_datagrams(&opener, at, wire_lens, <int>batch) ^ all_authentic
            aead_forget(&opener)
            total += now_ns() - start
    aead_free(&sealer)
    aead_free(&opener)
    free(memory)
    if missing:
        raise RuntimeError("what was sealed could not be opened")
    return <double>total / (<uint64_t>rounds * batch)


def bench_evp(uint32_t packet_len, uint32_t batch, uint32_t rounds) -> float:
    """Nanoseconds a packet of the bare EVP calls in a C loop: the same bytes, but no header, no run."""
    cdef uint8_t key[KEY_LEN]
    cdef uint64_t nonce[2]
    cdef uint8_t *text = <uint8_t *>calloc(batch, packet_len + TAG_LEN)
    cdef uint8_t *at
    cdef uint64_t start
    cdef uint32_t _i, _k
    cdef int n
    cdef EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new()
    memset(key, 7, sizeof(key))
    if ctx == NULL or text == NULL or not EVP_EncryptInit_ex(ctx, EVP_chacha20_poly1305(), NULL, key, NULL):
        EVP_CIPHER_CTX_free(ctx)
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
    EVP_CIPHER_CTX_free(ctx)
    free(text)
    return <double>start / (<uint64_t>rounds * batch)
