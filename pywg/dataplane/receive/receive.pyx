"""The receive path, in the order of the functions below:

1. `receive_step`, which a thread calls inside the gate (threads), takes up to 16 UDP messages of each socket that has
   any, or 8 long ones.
2. `inbound` cuts a message that GRO merged into datagrams and tells handshake messages (admit) from transport data.
3. `transport_message` finds the keypair and gathers its messages in groups (open), of up to 64.
4. Groups are opened in place and delivered (deliver), each as soon as it is complete, and then written (writer). With
   helpers `pass_on` hands the whole batch to them (reorder), unless it is small and no other is on its way: a hop gains
   nothing then. A batch is then opened beside others, delivered in order, and written lane by lane.

No field of a datagram is trusted before its tag holds: the window, the endpoint and the timers move only after that.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts, aead_contexts_free, aead_contexts_init
from pywg.dataplane.receive.admit cimport admission_answer, admission_init, admission_message, admission_stray
from pywg.dataplane.receive.deliver cimport deliver, delivery_free, delivery_init, delivery_inspect, delivery_write
from pywg.dataplane.receive.open cimport ReceiveBatch, receive_batch_add, receive_batch_clear, receive_batch_free
from pywg.dataplane.receive.open cimport receive_batch_has_room, receive_batch_init, receive_batch_open
from pywg.dataplane.receive.open cimport receive_batch_starts_group
from pywg.dataplane.reorder.pool cimport pool_wake
from pywg.dataplane.reorder.reorder cimport reorder_destroy, reorder_finish, reorder_has_room, reorder_hold
from pywg.dataplane.reorder.reorder cimport reorder_init, reorder_is_empty, reorder_lanes, reorder_next, reorder_pass
from pywg.dataplane.reorder.reorder cimport reorder_release, reorder_submit, reorder_submit_worked, reorder_together
from pywg.dataplane.reorder.reorder cimport reorder_work
from pywg.dataplane.state.batch_sizes cimport count_batch
from pywg.dataplane.state.counters cimport count
from pywg.dataplane.state.dataplane cimport Dataplane, gates_are_mine, has_shards
from pywg.dataplane.state.events cimport Message
from pywg.dataplane.state.gate cimport gate_is_mine
from pywg.dataplane.state.index_table cimport IndexEntry, index_table_find
from pywg.dataplane.state.replay cimport replay_plausible
from pywg.dataplane.state.strays cimport STRAYS_MAX, strays_any, strays_take
from pywg.dataplane.sys.atomic cimport store64
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.sys.clock cimport SECOND_NS, now_ns
from pywg.dataplane.udp.receive cimport RECEIVE_BATCH, ReceiveMeta, udp_receive, udp_received
from pywg.dataplane.wire.limits cimport REJECT_AFTER_TIME
from pywg.dataplane.wire.wireguard cimport MESSAGE_TRANSPORT, TRANSPORT_MIN_LEN, TransportHeader

cdef enum:
    SMALL_BATCH = 65536     # bytes below which a batch is not worth a hop
    LONG_MESSAGE = 8192     # bytes of what GRO merges, on average, from which on few messages fill a batch:
    LONG_MESSAGES = 8       # after so many, the first is still in the cache, and has waited long enough
    LONG_MESSAGES_WITH_HELPERS = 4
    PRESSED_BATCHES = 32    # full ones in a row: the receiving thread should do nothing else
    BEHIND_BATCHES = 256    # full ones in a row: the socket is full, or soon will be


cdef ReceivePath *receive_path_new(Dataplane *dp, int slots, int lanes) noexcept nogil:
    """`slots`: batches that may be on their way at once; 1 without helpers. `lanes`: 0 without. NULL: no memory."""
    cdef ReceivePath *e = <ReceivePath *>calloc(1, sizeof(ReceivePath))
    cdef int i
    if e == NULL:
        return NULL
    e.dp = dp
    aead_contexts_init(&e.contexts, dp.aead)
    e.limit = RECEIVE_BATCH
    reorder_init(&e.reorder, slots, dp.receive_kick, e, open_slot, deliver_slot)
    reorder_lanes(&e.reorder, lanes, write_slot)
    e.batches = <ReceiveBatch *>calloc(slots, sizeof(ReceiveBatch))
    if e.batches == NULL or delivery_init(&e.delivery, dp, lanes) < 0 or not admission_init(&e.admission):
        receive_path_free(e)
        return NULL
    e.batch = &e.batches[0]
    for i in range(slots):
        e.batch_count += 1
        if receive_batch_init(&e.batches[i]) < 0:
            receive_path_free(e)
            return NULL
    return e


cdef void receive_path_free(ReceivePath *e) noexcept nogil:
    cdef int i
    if e == NULL:
        return
    for i in range(e.batch_count):
        receive_batch_free(&e.batches[i])
    free(e.batches)
    delivery_free(&e.delivery)
    aead_contexts_free(&e.contexts)
    reorder_destroy(&e.reorder)
    free(e)


# ---- 1. a batch

cdef void receive_step(ReceivePath *e) noexcept nogil:
    """Takes one batch of each socket that has messages, inside the gate."""
    c_assert(gate_is_mine(&e.dp.receive_gate))
    if e.dp.number == 0 and strays_any(&e.dp.shared.strays):
        take_strays(e)
    if not e.dp.receives:
        return              # the sockets that had messages are gone; those of now are the first shard's
    if e.ready4 and e.dp.fd4 >= 0:
        receive(e, e.dp.fd4, &e.failures4)
    if e.ready6 and e.dp.fd6 >= 0:
        receive(e, e.dp.fd6, &e.failures6)


cdef void take_strays(ReceivePath *e) noexcept nogil:
    """Admits what came to other shards."""
    cdef Message[STRAYS_MAX] messages
    cdef const Message *message
    cdef uint64_t now = now_ns()
    cdef uint32_t kind
    cdef int i
    for i in range(strays_take(&e.dp.shared.strays, messages)):
        message = &messages[i]
        memcpy(&kind, message.data, 4)
        admission_message(&e.admission, e.dp, &message.source, message.data, message.len, kind, now)
    admission_answer(&e.admission, e.dp, now)


cdef bint ready(ReceivePath *e) noexcept nogil:
    """Whether there is a batch to fill."""
    cdef int slot
    if e.pool == NULL:
        return True
    slot = reorder_next(&e.reorder)
    # Where all batches wait to be opened, this thread opens one.
    while slot < 0:
        if not reorder_work(&e.reorder, &e.contexts) and not reorder_has_room(&e.reorder):
            e.no_free_batch = True
            return False
        slot = reorder_next(&e.reorder)
    e.batch = &e.batches[slot]
    return True


cdef void receive(ReceivePath *e, int fd, int *failures) noexcept nogil:
    cdef int n
    if not ready(e):
        return
    n = udp_receive(e.batch.receiver, fd, e.limit)
    if n < 0:
        # The socket reports a pending error (ICMP) once; any other error most likely comes again at once.
        count(&e.dp.counters.rx_receive_error)
        failures[0] += 1
        if failures[0] >= FAILURES_MAX:
            failures[0] = FAILURES_MAX
            e.resting_ns = now_ns() + ERROR_PAUSE_NS
        return
    if n == 0:
        return
    failures[0] = 0
    count(&e.dp.counters.rx_receives)
    receive_messages(e, n)


cdef void receive_messages(ReceivePath *e, int n) noexcept nogil:
    """Takes the `n` messages that the batch has received."""
    cdef ReceiveBatch *b = e.batch
    cdef ReceiveMeta *message
    cdef uint32_t bytes = 0, datagrams = 0
    cdef int i
    b.now = now_ns()
    e.full = 0 if n < e.limit else min(e.full + 1, BEHIND_BATCHES)
    if e.full >= PRESSED_BATCHES:
        store64(&e.dp.receive_pressure_ns, b.now)
    e.admission.pressure = e.full == BEHIND_BATCHES
    e.alone = e.pool == NULL or reorder_is_empty(&e.reorder)
    for i in range(n):
        message = &b.messages[i]
        udp_received(b.receiver, i, message)
        if message.truncated:
            count(&e.dp.counters.rx_truncated)
        else:
            bytes += message.len
            datagrams += inbound(e, message, b.now)
    if datagrams != 0:
        count(&e.dp.counters.rx_datagrams, datagrams)
        count_batch(e.dp.batches.rx, datagrams)
    if e.pool == NULL:
        open_and_deliver(e, b)
        delivery_write(&e.delivery, b, 0)
    else:
        pass_on(e, n == e.limit or bytes >= SMALL_BATCH)
    admission_answer(&e.admission, e.dp, b.now)
    if bytes < <uint32_t>n * LONG_MESSAGE:
        e.limit = RECEIVE_BATCH
    else:
        e.limit = LONG_MESSAGES if e.pool == NULL else LONG_MESSAGES_WITH_HELPERS


# ---- 2. datagrams

cdef uint32_t inbound(ReceivePath *e, ReceiveMeta *message, uint64_t now) noexcept nogil:
    """How many datagrams there were in the message."""
    cdef uint32_t at = 0, n = 0, len, kind
    cdef uint8_t *datagram
    if message.len == 0:
        n = 1
        count(&e.dp.counters.rx_malformed)
    while at < message.len:
        datagram = message.data + at
        len = message.len - at if message.len - at < message.stride else message.stride
        at += message.stride
        n += 1
        if len < 4:
            count(&e.dp.counters.rx_malformed)
            continue
        memcpy(&kind, datagram, 4)      # the type, and three bytes that are zero
        if kind == MESSAGE_TRANSPORT:
            transport_message(e, message, datagram, len, now)
        elif e.dp.number != 0:
            admission_stray(e.dp, &message.source, datagram, len, kind)
        else:
            admission_message(&e.admission, e.dp, &message.source, datagram, len, kind, now)
    return n


# ---- 3. transport data

cdef void transport_message(ReceivePath *e, ReceiveMeta *message, uint8_t *datagram, uint32_t len,
                            uint64_t now) noexcept nogil:
    """Adds the message to the batch, in a group of its keypair's, unless it can't be valid."""
    cdef Dataplane *dp = e.dp
    cdef TransportHeader *header = <TransportHeader *>datagram
    cdef IndexEntry *entry
    cdef bint starts_group
    if len < TRANSPORT_MIN_LEN:
        count(&dp.counters.rx_malformed)
        return
    entry = index_table_find(&dp.shared.indices, header.receiver_index)
    if entry == NULL or entry.keypair == NULL:
        count(&dp.counters.rx_unknown_index)
        return
    if now - entry.keypair.birth_ns >= REJECT_AFTER_TIME * SECOND_NS:
        count(&dp.counters.rx_expired)
        return
    # Delivery owns the window. While a helper, or another shard, may be writing it, replays are left to delivery.
    if e.alone and not has_shards(dp) and not replay_plausible(&entry.keypair.window, header.counter):
        count(&dp.counters.rx_replayed)
        return
    starts_group = receive_batch_starts_group(e.batch, entry.keypair)
    if starts_group and e.pool == NULL:
        open_and_deliver(e, e.batch)
    if not receive_batch_has_room(e.batch):
        count(&dp.counters.rx_queue_full)
        return
    receive_batch_add(e.batch, starts_group, entry.keypair, message, datagram, len)


# ---- 4. open and deliver

cdef void open_and_deliver(ReceivePath *e, ReceiveBatch *b) noexcept nogil:
    receive_batch_open(b, &e.contexts)
    deliver(&e.delivery, b)
    receive_batch_clear(b)


cdef void pass_on(ReceivePath *e, bint large) noexcept nogil:
    """With helpers: delivers the batch, or hands it to them."""
    if e.batch.datagram_count == 0:
        return
    if e.alone and not large:
        open_slot(e, <int>(e.batch - e.batches), &e.contexts)
        reorder_submit_worked(&e.reorder)
        reorder_finish(&e.reorder, False)
        reorder_pass(&e.reorder)
        return
    store64(&e.dp.receive_pressure_ns, e.batch.now)   # a reader with work for helpers should do nothing but read
    reorder_submit(&e.reorder)
    count(&e.dp.counters.rx_shared)
    if large:
        pool_wake(e.pool)
    else:
        # This thread has little else to do: it works on the slots itself, instead of waking a helper.
        while reorder_work(&e.reorder, &e.contexts):
            pass


cdef void open_slot(void *owner, int slot, AeadContexts *contexts) noexcept nogil:
    cdef ReceivePath *e = <ReceivePath *>owner
    receive_batch_open(&e.batches[slot], contexts)
    delivery_inspect(&e.delivery, &e.batches[slot])


cdef bint deliver_slot(void *owner, int slot) noexcept nogil:
    cdef ReceivePath *e = <ReceivePath *>owner
    deliver(&e.delivery, &e.batches[slot])
    reorder_together(&e.reorder, slot, e.batches[slot].together)
    receive_batch_clear(&e.batches[slot])       # but for the lists of packets, which the lanes go through
    return True


cdef void write_slot(void *owner, int slot, int lane) noexcept nogil:
    cdef ReceivePath *e = <ReceivePath *>owner
    delivery_write(&e.delivery, &e.batches[slot], lane)


# ---- the control plane, inside both gates

cdef void receive_path_hold(ReceivePath *e) noexcept nogil:
    """Returns when all received messages are delivered; none is from then until `receive_path_release`."""
    c_assert(gates_are_mine(e.dp))
    if e.pool != NULL:
        reorder_hold(&e.reorder)


cdef void receive_path_release(ReceivePath *e) noexcept nogil:
    c_assert(gates_are_mine(e.dp))
    if e.pool != NULL:
        reorder_release(&e.reorder)
