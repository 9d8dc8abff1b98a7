"""The AEAD on plain bytes: batches of messages, bare texts, Poly1305 alone, and the cost of what is beside it.

`aead` is the name of a backend, or "auto", as for a plane. Times are nanoseconds, without the GIL.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from pywg.dataplane.crypto.aead cimport AEAD_BATCH, Aead, aead_free, aead_init, aead_use
from pywg.dataplane.crypto.aead cimport open_batch as open_datagrams, seal_batch as seal_datagrams
from pywg.dataplane.crypto.aead_select cimport aead_choose
from pywg.dataplane.crypto.chacha20poly1305 cimport chapoly_is_here, chapoly_poly1305
from pywg.dataplane.sys.clock cimport now_ns
from pywg.dataplane.sys.libcrypto cimport EVP_CIPHER_CTX, EVP_CTRL_AEAD_GET_TAG, EVP_CIPHER_CTX_ctrl
from pywg.dataplane.sys.libcrypto cimport EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_EncryptFinal_ex
from pywg.dataplane.sys.libcrypto cimport EVP_EncryptInit_ex, EVP_EncryptUpdate, EVP_chacha20_poly1305
from pywg.dataplane.wire.limits cimport REJECT_AFTER_MESSAGES
from pywg.dataplane.wire.wireguard cimport KEY_LEN, MESSAGE_TRANSPORT, TAG_LEN, TRANSPORT_MIN_LEN, WG_HEADER_LEN
from pywg.dataplane.wire.wireguard cimport padded_len

cdef enum:
    POLY_BATCH = 16     # one-time keys a call of poly1305


cdef int begin(Aead *aead, str name, bint seals, bytes key) except -1:
    """Gives a backend the key, which has to outlive the use. To be freed, but not after an exception."""
    if len(key) != KEY_LEN:
        raise ValueError("a transport key is 32 bytes")
    aead_init(aead, aead_choose(name), seals)
    if aead_use(aead, <const uint8_t *>PyBytes_AS_STRING(key)) < 0:
        aead_free(aead)
        raise MemoryError
    return 0


def seal_batch(str aead, bytes key: bytes, uint64_t counter, packets: list[bytes], uint32_t receiver_index=0,
               uint32_t mtu=65535) -> list[bytes]:
    """Transport messages (paper section 5.4.6) of these packets, padded to 16 but not past the MTU.

    The counters follow each other from `counter` on; ValueError when they would reach Reject-After-Messages.
    """
    cdef Aead sealer
    cdef uint8_t *at[AEAD_BATCH]
    cdef uint32_t wire_lens[AEAD_BATCH]
    cdef list sealed = []
    cdef bytes packet, datagram
    cdef int n = 0
    if counter >= REJECT_AFTER_MESSAGES - <uint64_t>len(packets):
        raise ValueError("the counter has reached Reject-After-Messages")
    begin(&sealer, aead, True, key)
    try:
        for packet in packets:
            wire_lens[n] = WG_HEADER_LEN + padded_len(<uint32_t>len(packet), mtu) + TAG_LEN
            datagram = PyBytes_FromStringAndSize(NULL, wire_lens[n])
            at[n] = <uint8_t *>PyBytes_AS_STRING(datagram)
            memset(at[n], 0, wire_lens[n])
            memcpy(at[n] + WG_HEADER_LEN, PyBytes_AS_STRING(packet), len(packet))
            sealed.append(datagram)
            n += 1
            if n == AEAD_BATCH or len(sealed) == len(packets):
                if seal_datagrams(&sealer, at, wire_lens, n, receiver_index, counter) != 0:
                    raise RuntimeError("the library could not seal")
                counter += <uint64_t>n
                n = 0
    finally:
        aead_free(&sealer)
    return sealed


cdef bint has_transport_header(bytes datagram):
    return len(datagram) >= TRANSPORT_MIN_LEN and datagram[:4] == bytes((MESSAGE_TRANSPORT, 0, 0, 0))


def open_batch(str aead, bytes key: bytes, datagrams: list[bytes]) -> list[bytes | None]:
    """The padded inner packets of transport messages; None for what is malformed or forged."""
    cdef Aead opener
    cdef uint8_t *at[AEAD_BATCH]
    cdef uint32_t wire_lens[AEAD_BATCH]
    cdef uint64_t authentic
    cdef list opened = [None] * len(datagrams)
    cdef list places = [i for i, datagram in enumerate(datagrams) if has_transport_header(datagram)]
    cdef list copies
    cdef bytes copy
    cdef int n
    begin(&opener, aead, False, key)
    try:
        while places:
            copies = []
            for n, place in enumerate(places[:AEAD_BATCH]):
                copy = PyBytes_FromStringAndSize(PyBytes_AS_STRING(datagrams[place]), len(datagrams[place]))
                copies.append(copy)
                at[n] = <uint8_t *>PyBytes_AS_STRING(copy)
                wire_lens[n] = <uint32_t>len(copy)
            authentic = open_datagrams(&opener, at, wire_lens, <int>len(copies))
            for n, copy in enumerate(copies):
                if (authentic >> n) & 1:
                    opened[places[n]] = copy[WG_HEADER_LEN:-TAG_LEN]
            del places[:AEAD_BATCH]
    finally:
        aead_free(&opener)
    return opened


cdef int find_texts(uint8_t[::1] buffer, list places, uint8_t **texts, uint32_t *lens) except -1:
    """The texts at these (offset, length) of the buffer, each followed by its tag. Returns how many."""
    cdef int i = 0
    if len(places) > AEAD_BATCH:
        raise ValueError(f"a batch has at most {AEAD_BATCH} packets")
    for offset, length in places:
        if offset < 0 or length < 0 or offset + length + TAG_LEN > buffer.shape[0]:
            raise ValueError(f"{length} bytes at {offset} and a tag don't fit into the buffer")
        texts[i] = &buffer[0] + <size_t>offset
        lens[i] = <uint32_t>length
        i += 1
    return i


def seal_texts(str aead, bytes key: bytes, uint64_t first_counter, uint8_t[::1] buffer,
               places: list[tuple[int, int]]) -> None:
    """Seals the texts at these (offset, length) of `buffer` in place; each has 16 bytes behind it for its tag.

    As the backend does it, without WireGuard's header. The counters follow each other from `first_counter` on (paper
    section 5.4.6); at most 64 texts.
    """
    cdef Aead sealer
    cdef uint8_t *texts[AEAD_BATCH]
    cdef uint32_t lens[AEAD_BATCH]
    cdef int count = find_texts(buffer, places, texts, lens)
    cdef bint sealed
    begin(&sealer, aead, True, key)
    with nogil:
        sealed = sealer.backend.seal(&sealer, first_counter, texts, lens, count)
        aead_free(&sealer)
    if not sealed:
        raise RuntimeError("the library could not seal")


def open_texts(str aead, bytes key: bytes, counters: list[int], uint8_t[::1] buffer,
               places: list[tuple[int, int]]) -> list[bool]:
    """Opens sealed texts, as `seal_texts` left them, in place. Which were authentic."""
    cdef Aead opener
    cdef uint8_t *texts[AEAD_BATCH]
    cdef uint32_t lens[AEAD_BATCH]
    cdef uint64_t numbers[AEAD_BATCH]
    cdef uint64_t authentic
    cdef int i, count = find_texts(buffer, places, texts, lens)
    if len(counters) != count:
        raise ValueError("each text has its counter")
    for i in range(count):
        numbers[i] = counters[i]
    begin(&opener, aead, False, key)
    with nogil:
        authentic = opener.backend.open(&opener, numbers, texts, lens, count)
        aead_free(&opener)
    return [bool(authentic >> i & 1) for i in range(count)]


def poly1305(int level, keys: list[bytes], messages: list[bytes]) -> list[bytes]:
    """Poly1305 (RFC 8439 section 2.5) of up to 16 messages of whole 16-byte blocks, each with its own 32-byte key."""
    cdef uint8_t *texts[POLY_BATCH]
    cdef uint32_t lens[POLY_BATCH]
    cdef uint8_t one_time[POLY_BATCH][32]
    cdef uint8_t tags[POLY_BATCH][16]
    cdef bytes key, message
    cdef int i, count = <int>len(keys)
    if not chapoly_is_here(level):
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
        chapoly_poly1305(level, one_time, texts, lens, count, tags)
    return [tags[i][:16] for i in range(count)]


# ---- how long it takes

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
