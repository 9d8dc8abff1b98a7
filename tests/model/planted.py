"""Faults that are put into the data plane, and the scenario that has to find each."""

from dataclasses import dataclass

from tests.model.build import Edit
from tests.model.scenarios import FEW_MORE, OLD, SC, SOME, USE, How, Scenario, ring, shards, tunnel

REORDER = "pywg/dataplane/reorder/reorder.pyx"
THREADS = "pywg/dataplane/threads/threads.pyx"
LOOPS = "pywg/dataplane/threads/loops.pyx"
HANDOFF = "pywg/dataplane/threads/handoff.pyx"
SEND = "pywg/dataplane/send/send.pyx"
RECEIVE = "pywg/dataplane/receive/receive.pyx"
PEERS = "pywg/dataplane/state/peers.pyx"
POOL = "pywg/dataplane/reorder/pool.pyx"
SEAL = "pywg/dataplane/send/seal.pyx"
STAGED = "pywg/dataplane/state/staged.pyx"
DELIVER = "pywg/dataplane/receive/deliver.pyx"


@dataclass(frozen=True)
class Planted:
    edit: Edit
    scenario: Scenario
    fault: str  # the beginning of what is said of it


_LOST = "all threads wait, and a slot is not finished"
_LEFT = "all threads wait, and a lane has not passed a slot"
_WRONG = "a slot lost, twice, overtaken, or not worked on"
_TURNS = ring(SC, 2, 2, 2, looks=1)
_LOSES = ring(FEW_MORE, 3, 3, 2, looks=1, lost=1)
PLANTED = {
    "a slot is published before it is taken": Planted(
        Edit(
            REORDER,
            "    store64(&p.taken, p.submitted + 1)  # first, so that no other thread can take the slot\n"
            "    store64_release(&p.submitted, p.submitted + 1)\n",
            "    store64_release(&p.submitted, p.submitted + 1)\n    store64(&p.taken, p.submitted)\n",
        ),
        ring(SC, 2, 2, 1),
        "",
    ),
    "a filled slot is published without release": Planted(
        Edit(
            REORDER,
            "    add64_ordered(&p.in_work, 1)\n    store64_release(",
            "    add64_ordered(&p.in_work, 1)\n    store64(",
        ),
        ring(OLD, 2, 2, 1),
        "data race: a read after another thread's write of slots",
    ),
    "a slot that was worked on is published without release": Planted(
        Edit(REORDER, "        store8_release(&p.worked[slot], READY)\n", "        store8(&p.worked[slot], READY)\n"),
        ring(SC, 2, 2, 2),
        "data race: a read after another thread's write of slots",
    ),
    "a finished slot is given back without release": Planted(
        Edit(REORDER, "        store64_release(&p.finished, number)\n", "        store64(&p.finished, number)\n"),
        ring(OLD, 1, 2, 1),
        "data race: a write after another thread's",
    ),
    "the flag is given back without release": Planted(
        Edit(REORDER, "    store8_release(&p.finishing, 0)\n", "    store8(&p.finishing, 0)\n"),
        ring(SC, 2, 3, 1, refusals=1),
        "data race",
    ),
    "no fence before the flag": Planted(
        Edit(REORDER, "        fence()                 # a holder of the flag", "        # a holder of the flag"),
        ring(OLD, 2, 2, 1),
        _LOST,
    ),
    "no fence after the flag": Planted(
        Edit(REORDER, "    store8_release(&p.finishing, 0)\n    fence()\n", "    store8_release(&p.finishing, 0)\n"),
        ring(OLD, 2, 2, 1, holds=1),
        _LOST,
    ),
    "no second look after the flag": Planted(
        Edit(
            REORDER,
            "        if stopped or load8(&p.backlog) or load8_",
            "        if True or load8(&p.backlog) or load8_",
        ),
        ring(SC, 2, 2, 1),
        _LOST,
    ),
    "only the head's thread finishes": Planted(
        Edit(
            REORDER,
            "    if reorder_finish(p, False):\n",
            "    if number == load64(&p.finished) and reorder_finish(p, False):\n",
        ),
        ring(OLD, 2, 3, 1),
        _LOST,
    ),
    "two threads take a slot": Planted(
        Edit(
            REORDER,
            "        if replace64(&p.taken, number, number + 1):\n            break\n",
            "        store64(&p.taken, number + 1)\n        break\n",
        ),
        ring(SC, 1, 2, 2),
        "",
    ),
    "a slot is finished twice": Planted(
        Edit(REORDER, "        store8(&p.worked[slot], 0)\n", ""), ring(SC, 1, 2, 1), _WRONG
    ),
    "the ring takes one slot too many": Planted(
        Edit(REORDER, ">= <uint64_t>p.slots:\n        return -1", "> <uint64_t>p.slots:\n        return -1"),
        ring(SC, 1, 2, 1),
        "",
    ),
    "the reader asks for room without a fence": Planted(
        Edit(REORDER, "    fence()                     # either the reader sees", "    # either the reader sees"),
        ring(OLD, 1, 3, 1),
        _LOST,
    ),
    "no kick when there is room": Planted(
        Edit(REORDER, " and swap8(&p.wants_room, 0):\n        eventfd_kick(p.kick)", ":\n        pass"),
        ring(SC, 1, 3, 1),
        _LOST,
    ),
    "the control plane does not wait for slots in work": Planted(
        Edit(REORDER, "load64_acquire(&p.in_work) == 0 and not swap8", "not swap8"), ring(SC, 2, 2, 1, holds=1), ""
    ),
    "the control plane does not take the flag": Planted(
        Edit(
            REORDER, "load64_acquire(&p.in_work) == 0 and not swap8(&p.finishing, 1)", "load64_acquire(&p.in_work) == 0"
        ),
        ring(SC, 2, 2, 1, holds=1),
        "",
    ),
    "a lane has two holders": Planted(
        Edit(REORDER, " and not swap8(&p.lane[lane].held, 1):\n", ":\n"), ring(SC, 2, 2, 1, lanes=1), ""
    ),
    "the holder of a lane does not look once more": Planted(
        Edit(
            REORDER,
            "                again |= pass_ready(p, lane)\n                store8_release(&p.lane[lane].held, 0)\n",
            "                pass_ready(p, lane)\n                store8_release(&p.lane[lane].held, 0)\n"
            "                break\n",
        ),
        ring(SC, 2, 2, 1, lanes=1),
        _LEFT,
    ),
    "a slot is free before the lanes have passed it": Planted(
        Edit(REORDER, "        least = min(least, load64_acquire(&p.lane[lane].passed))\n", "        pass\n"),
        ring(SC, 1, 2, 1, lanes=1),
        "",
    ),
    "the control plane does not wait for lanes": Planted(
        Edit(REORDER, "        if freed(p) == p.finished:\n", "        if True:\n"),
        ring(SC, 2, 2, 1, lanes=1, holds=1),
        "",
    ),
    "a slot that goes together waits for no lane": Planted(
        Edit(REORDER, "        if load64_acquire(&p.lane[other].passed) < number:\n", "        if False:\n"),
        ring(SOME, 2, 2, 2, lanes=2, together=2),
        "",
    ),
    "a slot stays kept when its thread has waited": Planted(
        Edit(REORDER, "    await_turn(p, number)\n    make_ready(p, number)\n", "    await_turn(p, number)\n"),
        _TURNS,
        _LOST,
    ),
    "a thread that has waited does not finish": Planted(
        Edit(REORDER, "        take_turn(p, number)\n", "        take_turn(p, number)\n        return True\n"),
        _TURNS,
        _LOST,
    ),
    "a kept slot is published without release": Planted(
        Edit(REORDER, "    store8_release(&p.worked[number % ", "    store8(&p.worked[number % "),
        ring(OLD, 2, 2, 2, looks=1),
        "data race",
    ),
    "a slot is made ready whatever it is": Planted(
        Edit(
            REORDER,
            "    replace8(&p.worked[number % <uint64_t>p.slots], KEPT, READY)\n",
            "    store8(&p.worked[number % <uint64_t>p.slots], READY)\n",
        ),
        _TURNS,
        "",
    ),
    "a slot is made ready before it is worked on": Planted(
        Edit(
            REORDER,
            "        replace8(&p.worked[slot], KEPT, READY)\n",
            "        store8(&p.worked[slot], READY)\n",
        ),
        _LOSES,
        "",
    ),
    "a slot is in work no more before it is published": Planted(
        Edit(
            REORDER,
            "    cdef bint keeps = worked_before(p, number)\n",
            "    cdef bint keeps = worked_before(p, number)\n"
            "    add64_ordered(&p.in_work, ~<uint64_t>0)\n    add64_ordered(&p.in_work, 1)\n",
        ),
        ring(SC, 2, 2, 1, looks=1, holds=1),
        "a slot is left that could be finished, while all is held",
    ),
    "the control plane leaves kept slots": Planted(
        Edit(REORDER, "    if p.turn_looks != 0:\n        make_all_ready(p)\n", ""),
        ring(SC, 2, 2, 1, looks=1, holds=1),
        "a slot is left that could be finished, while all is held",
    ),
    "a thread that has looked in vain leaves the others' slots": Planted(
        Edit(REORDER, "            make_all_ready(p)\n", "            pass\n"), _LOSES, _LOST
    ),
    "a thread keeps a slot before one whose thread has gone": Planted(
        Edit(REORDER, "    if is_ready(p, number + 1) or number", "    if number"), _LOSES, _LOST
    ),
    "a thread does not look twice whether it is to wait": Planted(
        Edit(REORDER, "    if not keeps and not worked_before(p, number):\n", "    if not keeps:\n"),
        ring(SOME, 3, 3, 3, looks=1, lost=1),
        _LOST,
    ),
    "a slot that is not worked on is taken for one that leaves": Planted(
        Edit(
            REORDER,
            "            if before != load64(&p.finished) or not load8_acquire(&p.finishing):\n"
            "                return before < load64_acquire(&p.finished)\n",
            "            return before < load64(&p.finished) or load8(&p.finishing)\n",
        ),
        ring(FEW_MORE, 4, 4, 3, looks=1, lost=1),
        _LOST,
    ),
    "a thread keeps a slot without a fence": Planted(
        Edit(REORDER, "    fence()                     # of two threads", "    # of two threads"),
        ring(How(stale=1, preemptions=2), 3, 3, 2, looks=1, lost=1),
        _LOST,
    ),
    "a helper goes to sleep without a last look": Planted(
        Edit(POOL, "    if has_work(pool) or load8(&pool.stop):\n", "    if load8(&pool.stop):\n"),
        ring(SC, 2, 2, 1, pool=1),
        _LOST,
    ),
    "a helper goes to sleep without a fence": Planted(
        Edit(POOL, "    fence()                     # either this helper", "    # either this helper"),
        ring(OLD, 2, 2, 1, pool=1),
        _LOST,
    ),
    "the reader wakes without a fence": Planted(
        Edit(
            POOL,
            "    fence()\n    if load64(&pool.looking) != 0:\n",
            "    if load64(&pool.looking) != 0:\n",
        ),
        ring(OLD, 2, 2, 1, pool=1),
        _LOST,
    ),
    "the receiving thread does not enter its gate": Planted(
        Edit(LOOPS, "        gate_enter(&dp.receive_gate)\n", ""),
        tunnel(USE, messages=1, remove=1),
        "",
    ),
    "sending is handed off without a kick": Planted(
        Edit(HANDOFF, "        eventfd_kick(dp.receive_kick)    # the poll()", "        # the poll()"),
        tunnel(USE, packets=1),
        "all threads wait, and the TUN has a packet",
    ),
    "sending is taken back without a kick": Planted(
        Edit(HANDOFF, "        eventfd_kick(dp.send_kick)\n", ""),
        tunnel(USE, packets=2, heavy=1),
        "all threads wait, and the TUN has a packet",
    ),
    "a peer goes that a full socket's messages point to": Planted(
        Edit(SEND, "        send_batch_forget_peers(&e.batches[i])\n", "        pass\n"),
        tunnel(USE, packets=2, full=1, remove=1),
        "use after free of peer 0",
    ),
    "a keypair goes that a peer seals with": Planted(
        Edit(PEERS, "        keypair.peer.sending = NULL\n", "        pass\n"),
        tunnel(USE, packets=2, retire=1),
        "use after free",
    ),
    "a peer goes that is in the list of events": Planted(
        Edit(PEERS, "    events_forget(&dp.shared.events, peer)\n", ""),
        tunnel(USE, packets=2, sessions=0, remove=1),
        "use after free of peer 0",
    ),
    "a peer goes while helpers open": Planted(
        Edit(RECEIVE, "    if e.pool != NULL:\n        reorder_hold(&e.reorder)\n", "    pass\n"),
        tunnel(How(races=0, preemptions=2), messages=1, heavy=2, helpers=1, remove=1),
        "",
    ),
    "a socket is closed while a thread waits for it": Planted(
        Edit(THREADS, " or (rx & 1 and load64(&shard.dp.receive_waits) == rx):", ":"),
        tunnel(USE, packets=1, messages=1, detach=1),
        "a thread waits for a closed socket",
    ),
    "two shards deliver at once": Planted(
        Edit(
            DELIVER,
            "    if has_shards(d.dp):\n        pthread_mutex_lock(",
            "    if False:\n        pthread_mutex_lock(",
        ),
        shards(SC, messages=1, same=1, session=1, watch=1),
        "data race",
    ),
    "two shards use a counter": Planted(
        Edit(
            SEAL,
            "    pthread_mutex_lock(&peer.lock)      # no other shard's thread may reserve the same counters\n"
            "    counter = keypair.next_counter\n",
            "    counter = keypair.next_counter\n    pthread_mutex_lock(&peer.lock)\n",
        ),
        shards(USE, packets=1, session=1),
        "a counter goes out twice",
    ),
    "two shards take a staged packet": Planted(
        Edit(
            STAGED,
            "    pthread_mutex_lock(&peer.lock)\n    staged = take(dp, peer)\n    pthread_mutex_unlock(&peer.lock)\n",
            "    staged = take(dp, peer)\n",
        ),
        shards(FEW_MORE, packets=2, messages=1, session=2, watch=1),
        "",
    ),
    "the control plane enters the first shard's gates alone": Planted(
        Edit(
            THREADS,
            "    gates_enter(threads.dp)\n",
            "    threads.dp.shared.shard_count = 1\n    gates_enter(threads.dp)\n"
            "    threads.dp.shared.shard_count = 2\n",
        ),
        shards(USE, packets=1, session=1, remove=1),
        "",
    ),
    "the control plane holds the first shard's paths alone": Planted(
        Edit(
            THREADS,
            "    while threads != NULL:\n        send_path_hold(threads.send_path)\n"
            "        receive_path_hold(threads.receive_path)\n        threads = threads.next\n",
            "    send_path_hold(threads.send_path)\n    receive_path_hold(threads.receive_path)\n",
        ),
        shards(USE, packets=1, full=1, session=1, remove=1),
        "use after free of peer",
    ),
    "the sockets of the first shard alone are waited for": Planted(
        Edit(
            THREADS,
            "    while threads != NULL:\n        settle(threads)\n        threads = threads.next\n",
            "    settle(threads)\n",
        ),
        shards(USE, messages=1, session=1, detach=1),
        "a thread waits for a closed socket",
    ),
}
