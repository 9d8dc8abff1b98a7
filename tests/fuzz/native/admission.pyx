"""Fuzz target: handshake messages from many sources, under load or not, beside the paper's rules (5.3, 5.4.4, 5.4.7).

What becomes of each is known from a plain model: the control plane gets it, its sender gets a cookie reply, or one
counter counts it. The senders' MACs, and what they make of a cookie reply, are those of mac_plain.h.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from pywg.dataplane.crypto.cookie_mac cimport macs_identify, macs_init
from pywg.dataplane.receive.admit cimport ASKERS_MAX, Admission, admission_answer, admission_init, admission_message
from pywg.dataplane.receive.admit cimport note_sent
from pywg.dataplane.receive.ratelimiter cimport sources_bucket
from pywg.dataplane.state.counters cimport Counters
from pywg.dataplane.state.dataplane cimport Dataplane, dataplane_new, gates_enter
from pywg.dataplane.state.events cimport Message
from pywg.dataplane.state.index_table cimport index_table_put
from pywg.dataplane.state.peer cimport Keypair, Peer
from pywg.dataplane.state.peers cimport peer_new
from pywg.dataplane.state.token_bucket cimport TokenBucket
from pywg.dataplane.sys.linux cimport mmsghdr, sockaddr_in, sockaddr_in6
from pywg.dataplane.wire.endpoint cimport Endpoint

from pywg.dataplane.crypto.cookie_mac import cookie_key, mac1_key

from tests.fuzz.native.common cimport need, need_equal
from tests.fuzz.native.harness cimport KERNEL_UDP4, KERNEL_UDP6, kernel
from tests.fuzz.native.input cimport Input, input8, input16, input_left, input_start

cdef extern from "mac_plain.h" nogil:
    void mac_blake2s(const uint8_t *key, uint32_t key_len, const uint8_t *data, uint32_t len, uint8_t *mac)
    bint mac_cookie(const uint8_t *key, const uint8_t *nonce, const uint8_t *data, const uint8_t *sealed, uint8_t *to,
                    bint seals)

cdef extern from "errno.h" nogil:
    enum:
        EAGAIN
        EPERM

cdef enum:
    PEERS = 3
    SOURCES = 8
    FLIGHT = 0x100              # indices of each peer: of a handshake in flight,
    CURRENT = 0x200             # of the session in use,
    NEXT = 0x300                # of one that nothing has come under yet
    INITIATION = 148
    RESPONSE = 92
    REPLY = 64
    RING = 4096
    LOAD_AT = 512
    SECRETS = 64                # that a run may see
    BUCKETS = 64                # that are in use at once; the last is used for all the others

cdef uint64_t SECOND = 1_000_000_000
cdef uint64_t FIRST_MESSAGE = 10_000

cdef struct Source:
    Endpoint at
    bint has_cookie
    uint8_t cookie[16]
    int secret                  # with which it was made

cdef struct Asker:
    int source
    uint32_t index
    uint8_t mac1[16]

cdef struct Bucket:
    uint32_t number
    uint64_t credit             # ns
    uint64_t last

cdef struct Model:
    uint64_t now
    Counters counters
    bint has_key
    uint64_t secrets[SECRETS]   # when each was made
    int secret_count
    int first_secret            # of this key
    Bucket buckets[BUCKETS]
    int bucket_count
    uint64_t calm               # credit of held-back messages, ns
    uint64_t calm_last
    int64_t budget              # ns
    uint64_t budget_last
    uint64_t loaded_until
    uint64_t written
    uint64_t taken
    Asker askers[ASKERS_MAX]
    int asker_count
    int answered                # askers that were sent, or passed over, in this batch
    int accepted
    bint due[PEERS]
    uint32_t sent_index[PEERS]
    uint8_t sent_mac1[PEERS][16]

cdef Dataplane *dp = NULL
cdef Admission *admission = NULL
cdef Peer *peers[PEERS]
cdef Keypair keypairs[PEERS][2]
cdef Source sources[SOURCES]
cdef Model m
cdef Input steps
cdef uint8_t[32] our_mac1_key
cdef uint8_t[32] our_cookie_key
cdef uint8_t[32] peers_cookie_key


# ---- the model

cdef bint loaded() noexcept nogil:
    return m.now < m.loaded_until


cdef void push() noexcept nogil:
    """A message for the control plane: load, from an eighth of its queue on, and for a second."""
    if m.written - m.taken >= LOAD_AT:
        m.loaded_until = m.now + SECOND
    if m.written - m.taken >= RING:
        m.counters.rx_queue_full += 1
        return
    m.written += 1
    m.counters.rx_handshakes += 1


cdef void hold_back() noexcept nogil:
    """More than 1,000 of these a second, or 512 at once, are load that goes on."""
    m.calm = min(m.calm + (m.now - m.calm_last), <uint64_t>512_000_000)
    m.calm_last = m.now
    if m.calm < 1_000_000:
        m.loaded_until = m.now + SECOND
    else:
        m.calm -= 1_000_000


cdef bint source_may(int source) noexcept nogil:
    """20 a second, 5 at once."""
    cdef uint32_t number = sources_bucket(&admission.sources, &sources[source].at, m.now)
    cdef Bucket *bucket
    cdef int i = 0
    while i < m.bucket_count and m.buckets[i].number != number:
        i += 1
    need(i < BUCKETS, b"too many buckets for the model")
    bucket = &m.buckets[i]
    if i == m.bucket_count:
        m.bucket_count += 1
        bucket.number = number
        bucket.credit = bucket.last = 0
    bucket.credit = min(bucket.credit + (m.now - bucket.last), <uint64_t>250_000_000)
    bucket.last = m.now
    if bucket.credit < 50_000_000:
        return False
    bucket.credit -= 50_000_000
    return True


cdef bint cookie_is_good(int source, const Source *s) noexcept nogil:
    """Whether the cookie that `s` has is one for this source: of the last two secrets, and for 120 s."""
    if not s.has_cookie or s.secret < m.first_secret or s.secret < m.secret_count - 2:
        return False
    if m.now - m.secrets[s.secret] >= 120 * SECOND:
        return False
    return (sources[source].at.port == s.at.port and sources[source].at.ip_len == s.at.ip_len
            and memcmp(sources[source].at.ip, s.at.ip, s.at.ip_len) == 0)


cdef void ask(int source, uint32_t index, const uint8_t *mac1) noexcept nogil:
    """A cookie reply, if the budget has time: half of it, an eighth under pressure, 4 ms in advance."""
    cdef uint64_t earned
    hold_back()
    if m.asker_count == ASKERS_MAX:     # no more are noted before these have their answers
        spend()
        answered()
    earned = (m.now - m.budget_last) // (8 if admission.pressure else 2)
    m.budget_last = m.now
    m.budget = min(m.budget + <int64_t>min(earned, <uint64_t>8_000_000), <int64_t>4_000_000)
    if m.budget <= 0:
        m.counters.rx_under_load += 1
        return
    m.askers[m.asker_count].source = source
    m.askers[m.asker_count].index = index
    memcpy(m.askers[m.asker_count].mac1, mac1, 16)
    m.asker_count += 1


cdef void answered() noexcept nogil:
    """What a batch of answers leaves; `sent` has checked each of them as it left."""
    m.counters.tx_cookie_replies += <uint64_t>m.accepted
    m.counters.rx_under_load += <uint64_t>(m.asker_count - m.accepted)
    m.asker_count = m.answered = m.accepted = 0


cdef void handshake(int source, const Source *proof, bint mac1_right, uint32_t index,
                    const uint8_t *mac1) noexcept nogil:
    if not m.has_key or not mac1_right:
        m.counters.rx_bad_mac1 += 1
    elif not loaded():
        push()
    elif not cookie_is_good(source, proof):
        ask(source, index, mac1)
    elif source_may(source):
        push()
    else:
        hold_back()
        m.counters.rx_source_limited += 1


# ---- the kernel

cdef int sent(void *driver, int fd, mmsghdr *messages, unsigned int count) noexcept nogil:
    """Cookie replies. Some, or none, are accepted."""
    cdef uint32_t what = input8(&steps)
    cdef unsigned int i, most = count
    kernel.now_ns += (what >> 3) * 1000
    pass_over()
    if what & 7 == 7:
        return skip(fd, count, -EAGAIN)
    if what & 7 == 6:
        return skip(fd, 1, -EPERM)
    if what & 7 == 5:
        most = 1
    for i in range(most):
        reply_is_right(fd, &messages[i])
        m.accepted += 1
    return <int>most


cdef int skip(int fd, unsigned int count, int error) noexcept nogil:
    m.answered += <int>count
    if error == -EPERM:
        m.counters.tx_send_error += 1
    return error


cdef void pass_over() noexcept nogil:
    """Those of a family without a socket."""
    cdef int source
    while m.answered < m.asker_count:
        source = m.askers[m.answered].source
        if (dp.fd4 if sources[source].at.ip_len == 4 else dp.fd6) >= 0:
            break
        m.answered += 1


cdef void reply_is_right(int fd, mmsghdr *message) noexcept nogil:
    """It goes where the message came from, opens for its sender, and has the cookie of that source."""
    cdef const Asker *asker = &m.askers[m.answered]
    cdef Source *source = &sources[asker.source]
    cdef const uint8_t *data = <const uint8_t *>message.msg_hdr.msg_iov[0].iov_base
    cdef const sockaddr_in *in4 = <const sockaddr_in *>message.msg_hdr.msg_name
    cdef const sockaddr_in6 *in6 = <const sockaddr_in6 *>message.msg_hdr.msg_name
    cdef uint8_t cookie[32]
    cdef uint32_t index
    need(m.answered < m.asker_count, b"a cookie reply for nobody")
    m.answered += 1
    if source.at.ip_len == 4:
        need(fd == KERNEL_UDP4 and in4.sin_port == source.at.port and memcmp(&in4.sin_addr, source.at.ip, 4) == 0,
             b"a cookie reply to another source")
    else:
        need(fd == KERNEL_UDP6 and in6.sin6_port == source.at.port and memcmp(&in6.sin6_addr, source.at.ip, 16) == 0,
             b"a cookie reply to another source")
    need(message.msg_hdr.msg_iov[0].iov_len == REPLY, b"the length of a cookie reply")
    need(data[0] == 3 and data[1] == 0 and data[2] == 0 and data[3] == 0, b"the type of a cookie reply")
    memcpy(&index, data + 4, 4)
    need_equal(index, asker.index, b"the receiver of a cookie reply")
    need(mac_cookie(our_cookie_key, data + 8, asker.mac1, data + 32, cookie, False), b"a cookie reply does not open")
    if source.has_cookie and source.secret == m.secret_count - 1:
        need(memcmp(source.cookie, cookie, 16) == 0, b"two cookies of one secret")
    source.has_cookie = True
    source.secret = m.secret_count - 1
    memcpy(source.cookie, cookie, 16)


cdef void answer() noexcept nogil:
    """The end of a batch. A secret makes cookies for 110 s."""
    kernel.now_ns = m.now
    if m.asker_count:
        make_secret()
    admission_answer(admission, dp, m.now)
    if m.asker_count:
        spend()
    answered()


cdef void make_secret() noexcept nogil:
    if m.secret_count == m.first_secret or m.now - m.secrets[m.secret_count - 1] >= 110 * SECOND:
        m.secrets[m.secret_count] = m.now
        m.secret_count += 1


cdef void spend() noexcept nogil:
    """The time that the answers took."""
    cdef int64_t spent = min(<int64_t>(kernel.now_ns - m.now), <int64_t>m.asker_count * 20_000)
    m.budget = max(m.budget - min(spent, <int64_t>8_000_000), <int64_t>-4_000_000)


# ---- messages

cdef void make_macs(uint8_t *message, uint32_t len, uint32_t odd, int cookie_of, bint with_cookie) noexcept nogil:
    """The last 32 bytes. `odd`: 1 a wrong mac1, 2 a wrong mac2."""
    memset(message + len - 32, 0, 32)
    mac_blake2s(our_mac1_key, 32, message, len - 32, message + len - 32)
    if with_cookie and sources[cookie_of].has_cookie:
        mac_blake2s(sources[cookie_of].cookie, 16, message, len - 16, message + len - 16)
    if odd == 1:
        message[len - 17] ^= 1
    elif odd == 2:
        message[len - 1] ^= 0x80


cdef uint32_t some_index(uint32_t what) noexcept nogil:
    """One of a peer's, or none."""
    return ((what >> 2 & 3) << 8) + (what & 3)


cdef bint is_in_flight(uint32_t index) noexcept nogil:
    return index - FLIGHT < PEERS


cdef void initiation_or_response(uint32_t what) noexcept nogil:
    """With a source, whose cookie it has, and what is wrong with it. Some come as often as fills a batch."""
    cdef uint32_t len = RESPONSE if what & 8 else INITIATION
    cdef uint32_t where = input8(&steps), odd = input8(&steps), index = input8(&steps)
    cdef int source = <int>(where & 7), cookie_of = <int>(where >> 3 & 7)
    cdef bint with_cookie = where >> 6 != 0
    cdef uint8_t *message
    cdef uint32_t receiver, fate = odd & 7, had
    cdef Source proof
    cdef int _time
    message = <uint8_t *>malloc(len)
    memset(message, <int>index, len)
    message[0] = 2 if what & 8 else 1
    message[1] = message[2] = message[3] = 0
    receiver = some_index(index)
    if what & 8:
        memcpy(message + 8, &receiver, 4)
    if cookie_of >= SOURCES:
        cookie_of = source
    make_macs(message, len, fate, cookie_of, with_cookie)
    proof = sources[cookie_of]          # answers on the way bring another
    proof.has_cookie = proof.has_cookie and with_cookie and fate != 2
    memcpy(&had, message + 4, 4)
    for _time in range(ASKERS_MAX + 8 if odd >= 0xF8 else 1):
        arrive(what, source, &proof, fate != 1, had, message, len)
    free(message)


cdef void arrive(uint32_t what, int source, const Source *proof, bint mac1_right, uint32_t had,
                 const uint8_t *message, uint32_t len) noexcept nogil:
    cdef uint64_t waiting = m.written
    cdef TokenBucket before
    cdef TokenBucket *bucket
    cdef uint32_t receiver
    memcpy(&receiver, message + 8, 4)
    bucket = &admission.sources.buckets[sources_bucket(&admission.sources, &sources[source].at, m.now)]
    before = bucket[0]
    if m.asker_count == ASKERS_MAX and m.has_key and mac1_right and loaded() and (
            not what & 8 or is_in_flight(receiver)) and not cookie_is_good(source, proof):
        kernel.now_ns = m.now
        make_secret()
    admission_message(admission, dp, &sources[source].at, message, len, message[0], m.now)
    if what & 8 and not is_in_flight(receiver):
        m.counters.rx_unknown_index += 1
    else:
        handshake(source, proof, mac1_right, had, message + len - 32)
    if not cookie_is_good(source, proof):
        need(memcmp(&before, bucket, sizeof(before)) == 0, b"a source that is charged for what is not proved to be its")
    if m.written != waiting:
        passed_on(source, message, len)


cdef void passed_on(int source, const uint8_t *message, uint32_t len) noexcept nogil:
    cdef const Message *last = &dp.shared.events.ring[(m.written - 1) % RING]
    need(last.len == len and memcmp(last.data, message, len) == 0, b"another message for the control plane")
    need(memcmp(&last.source, &sources[source].at, sizeof(Endpoint)) == 0, b"another source for the control plane")


cdef void cookie_reply(uint32_t what) noexcept nogil:
    """To one of our messages, or not."""
    cdef uint8_t *message = <uint8_t *>malloc(REPLY)
    cdef uint8_t cookie[16]
    cdef uint32_t odd = input8(&steps), index = some_index(input8(&steps)), peer = index & 0xFF
    cdef bint known = peer < PEERS and (index - FLIGHT == peer or index - CURRENT == peer or index - NEXT == peer)
    cdef uint64_t waiting = m.written
    memset(message, 0x3C, REPLY)
    message[0] = 3
    message[1] = message[2] = message[3] = 0
    memset(cookie, 0xC0, 16)
    memcpy(message + 4, &index, 4)
    mac_cookie(peers_cookie_key, message + 8, m.sent_mac1[peer if known else 0], cookie, message + 32, True)
    if odd & 7 == 1:
        message[8 + (odd >> 3)] ^= 1            # the nonce, or the cookie
    admission_message(admission, dp, &sources[what & 7].at, message, REPLY, 3, m.now)
    if not known or (index - CURRENT == peer) or (index - NEXT == peer and peers[peer].next == NULL):
        m.counters.rx_unknown_index += 1
    elif not m.has_key or not m.due[peer] or m.sent_index[peer] != index or odd & 7 == 1:
        m.counters.rx_bad_cookie_reply += 1
    else:
        push()
        m.due[peer] = m.written == waiting
    if m.written != waiting:
        passed_on(<int>(what & 7), message, REPLY)
    free(message)


cdef void odd_message() noexcept nogil:
    """Of a type or a length that no message has."""
    cdef uint32_t kind = input8(&steps), len = input16(&steps) % 200
    cdef uint8_t *message = <uint8_t *>malloc(len)
    memset(message, 0, len)
    if kind == 1 and len == INITIATION or kind == 2 and len == RESPONSE or kind == 3 and len == REPLY:
        kind = 0x101
    admission_message(admission, dp, &sources[0].at, message, len, kind, m.now)
    m.counters.rx_malformed += 1
    free(message)


# ---- what else happens

cdef void we_send(uint32_t what) noexcept nogil:
    """A message of ours to a peer, which a cookie reply may answer; a keepalive may not."""
    cdef uint32_t peer = what % PEERS, odd = input8(&steps)
    cdef uint32_t len = INITIATION if odd & 3 == 0 else RESPONSE if odd & 3 == 1 else 32
    cdef uint32_t index = (NEXT if odd & 3 == 1 else FLIGHT) + peer
    cdef uint8_t message[INITIATION]
    memset(message, <int>odd, sizeof(message))
    memcpy(message + 4, &index, 4)
    note_sent(peers[peer], message, len)
    m.due[peer] = len != 32
    if m.due[peer]:
        m.sent_index[peer] = index
        memcpy(m.sent_mac1[peer], message + len - 32, 16)
    peers[peer].next = &keypairs[peer][1] if odd & 0x10 == 0 else NULL


cdef void time_passes(uint32_t what) noexcept nogil:
    """Between batches, so that what is due is answered before."""
    cdef uint64_t n = input8(&steps)
    answer()
    if what & 7 == 0:
        m.now += n * 1000
    elif what & 7 == 1:
        m.now += n * 1_000_000
    elif what & 7 == 2:
        m.now += n * SECOND // 4
    elif what & 7 == 3:
        m.now = max(m.now, m.loaded_until + n % 3 - 1)
    elif what & 7 == 4:
        m.now += 50_000_000 - 1 + n % 3
    elif m.secret_count > m.first_secret:
        # Around the end of a secret, or of the belief in it.
        n = m.secrets[m.secret_count - 1 - <int>(n & 1 and m.secret_count - m.first_secret > 1)] + n % 3 - 1
        m.now = max(m.now, n + (110 if what & 7 == 5 else 120) * SECOND)


cdef void set_key(uint32_t what) noexcept nogil:
    """Another key, or none: earlier cookies are worth nothing."""
    answer()
    m.has_key = what & 1 == 0
    macs_identify(&dp.macs, our_mac1_key if m.has_key else NULL, our_cookie_key if m.has_key else NULL)
    m.first_secret = m.secret_count


cdef void circumstances(uint32_t what) noexcept nogil:
    cdef uint32_t n
    if what & 7 == 0:
        admission.pressure = not admission.pressure
    elif what & 7 == 1:
        m.loaded_until = dp.shared.events.loaded_until_ns = m.now + SECOND
    elif what & 7 == 2:                 # messages that wait
        n = input16(&steps) % (RING + 1)
        m.taken = dp.shared.events.taken = m.written - n
    elif what & 7 == 3:
        dp.fd4 = -1 if dp.fd4 >= 0 else KERNEL_UDP4
    elif what & 7 == 4:
        dp.fd6 = -1 if dp.fd6 >= 0 else KERNEL_UDP6
    elif what & 7 == 5:                 # many were held back
        m.calm = admission.calm.credit_ns = 1_500_000
        m.calm_last = admission.calm.last_ns = m.now
    elif what & 7 == 6:                 # many were answered
        m.budget = admission.budget.credit_ns = <int64_t>(input8(&steps)) * 1000 - 100_000
        m.budget_last = admission.budget.last_ns = m.now
    else:
        set_key(what >> 3)


cdef void all_is_counted() noexcept nogil:
    """Each message in one counter, or an asker that waits."""
    m.counters.tx_sends = dp.counters.tx_sends
    m.counters.tx_datagrams = dp.counters.tx_datagrams
    need_equal(dp.counters.rx_malformed, m.counters.rx_malformed, b"rx_malformed")
    need_equal(dp.counters.rx_unknown_index, m.counters.rx_unknown_index, b"rx_unknown_index")
    need_equal(dp.counters.rx_bad_mac1, m.counters.rx_bad_mac1, b"rx_bad_mac1")
    need_equal(dp.counters.rx_under_load, m.counters.rx_under_load, b"rx_under_load")
    need_equal(dp.counters.rx_source_limited, m.counters.rx_source_limited, b"rx_source_limited")
    need_equal(dp.counters.rx_handshakes, m.counters.rx_handshakes, b"rx_handshakes")
    need_equal(dp.counters.tx_cookie_replies, m.counters.tx_cookie_replies, b"tx_cookie_replies")
    need(memcmp(&dp.counters, &m.counters, sizeof(Counters)) == 0, b"another counter")
    need_equal(<uint64_t>admission.asker_count, <uint64_t>m.asker_count, b"senders that wait for a cookie")
    need_equal(dp.shared.events.written, m.written, b"messages for the control plane")
    need_equal(dp.shared.events.loaded_until_ns, m.loaded_until, b"the end of the load")


cdef void start() noexcept nogil:
    cdef int i
    for i in range(m.bucket_count):     # of the last run
        memset(&admission.sources.buckets[m.buckets[i].number], 0, sizeof(TokenBucket))
    memset(&m, 0, sizeof(m))
    m.now = kernel.now_ns = 5000 * SECOND
    m.written = m.taken = dp.shared.events.written = dp.shared.events.taken = FIRST_MESSAGE
    dp.shared.events.loaded_until_ns = 0
    memset(&dp.counters, 0, sizeof(dp.counters))
    memset(&admission.calm, 0, sizeof(admission.calm))
    memset(&admission.budget, 0, sizeof(admission.budget))
    admission.pressure = False
    admission.asker_count = 0
    dp.fd4 = KERNEL_UDP4
    dp.fd6 = KERNEL_UDP6
    for i in range(SOURCES):
        sources[i].has_cookie = False
    for i in range(PEERS):
        peers[i].cookie_due = False
        peers[i].next = NULL
    set_key(0)


cdef int one(const uint8_t *data, size_t size) noexcept nogil:
    """Steps: messages, what the clock and the circumstances do, and ends of batches."""
    cdef uint32_t what
    input_start(&steps, data, size)
    start()
    while input_left(&steps) and m.secret_count < SECRETS - 1 and m.bucket_count < BUCKETS - 1:
        what = input8(&steps)
        if what < 128:
            initiation_or_response(what)
        elif what < 150:
            cookie_reply(what)
        elif what < 155:
            odd_message()
        elif what < 170:
            we_send(what)
        elif what < 200:
            time_passes(what)
        elif what < 230:
            circumstances(what)
        else:
            answer()
        all_is_counted()
    answer()
    all_is_counted()
    return 0


cdef void make_source(int number, int ip_len, uint8_t network, uint8_t host, uint16_t port) noexcept nogil:
    cdef Endpoint *at = &sources[number].at
    memset(at, 0, sizeof(Endpoint))
    at.ip_len = <uint8_t>ip_len
    at.port = port
    at.ip[0] = 0xFD if ip_len == 16 else 10
    at.ip[3 if ip_len == 4 else 7] = network
    if ip_len == 16:
        at.ip[15] = host
    if host & 1:
        at.local_len = <uint8_t>ip_len
        at.local_ip[0] = 9


def address(str _aead: str) -> int:
    """Where the target is. The plane that it uses is made here, once; nothing is sealed in it."""
    global dp, admission
    cdef bytes public_key = bytes(range(32)), key
    cdef uint32_t i
    dp = dataplane_new(NULL)
    admission = <Admission *>calloc(1, sizeof(Admission))
    need(dp != NULL and admission != NULL and macs_init(&dp.macs) == 0, b"no memory")
    need(admission_init(admission), b"no random bytes")
    admission.sources.key[0] = 0x9E3779B97F4A7C15       # so that a run depends on the input alone
    admission.sources.key[1] = 0xBF58476D1CE4E5B9
    gates_enter(dp)
    dp.shared.events.signalled = 1     # nobody waits for the eventfd
    kernel.send = sent
    key = mac1_key(public_key)
    memcpy(our_mac1_key, <const char *>key, 32)
    key = cookie_key(public_key)
    memcpy(our_cookie_key, <const char *>key, 32)
    memset(peers_cookie_key, 0x77, 32)
    for i in range(PEERS):
        peers[i] = peer_new(i)
        memcpy(peers[i].cookie_key, peers_cookie_key, 32)
        keypairs[i][0].peer = keypairs[i][1].peer = peers[i]
        index_table_put(&dp.shared.indices, FLIGHT + i, peers[i], NULL)
        index_table_put(&dp.shared.indices, CURRENT + i, peers[i], &keypairs[i][0])
        index_table_put(&dp.shared.indices, NEXT + i, peers[i], &keypairs[i][1])
    # Neighbours: the same address with another port, the same /64, another one.
    make_source(0, 4, 1, 0, 1)
    make_source(1, 4, 1, 0, 2)
    make_source(2, 4, 2, 1, 1)
    make_source(3, 4, 3, 0, 1)
    make_source(4, 16, 1, 1, 1)
    make_source(5, 16, 1, 2, 1)
    make_source(6, 16, 2, 1, 1)
    make_source(7, 16, 3, 2, 2)
    return <uintptr_t>&one
