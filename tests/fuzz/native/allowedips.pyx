"""Fuzz target: prefixes given, taken, looked up and listed, of both families and some owners, beside a plain list."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcmp, memcpy, memset

from pywg.dataplane.state.allowedips cimport AllowedIps, AllowedNode, AllowedOwner, allowedips_free, allowedips_insert
from pywg.dataplane.state.allowedips cimport allowedips_is_of, allowedips_lookup, allowedips_new, allowedips_remove
from pywg.dataplane.state.allowedips cimport allowedips_remove_owner, allowedips_reserve, allowedips_unreserve

from tests.fuzz.native.common cimport need, need_equal
from tests.fuzz.native.input cimport Input, input8, input_below, input_bytes, input_left, input_start

cdef enum:
    OWNERS = 6
    MOST = 256                  # prefixes

cdef struct Prefix:
    uint8_t ip[16]
    int ip_len
    int cidr
    int owner
    uint64_t order              # in which it came to its owner

cdef AllowedIps *table = NULL
cdef AllowedOwner owners[OWNERS]
cdef Prefix prefixes[MOST]
cdef uint32_t count
cdef uint64_t given
cdef uint32_t room              # prefixes that a reservation has left


cdef bint holds(const uint8_t *prefix, int cidr, const uint8_t *ip) noexcept nogil:
    """Whether the first `cidr` bits are the same."""
    cdef int whole = cidr // 8
    return memcmp(prefix, ip, whole) == 0 and (cidr % 8 == 0 or (prefix[whole] ^ ip[whole]) >> (8 - cidr % 8) == 0)


cdef void clear_host_bits(uint8_t *ip, int cidr) noexcept nogil:
    cdef int whole = cidr // 8
    if cidr % 8:
        ip[whole] &= <uint8_t>(0xFF00 >> (cidr % 8))
        whole += 1
    memset(ip + whole, 0, 16 - whole)


cdef int find(const uint8_t *ip, int ip_len, int cidr) noexcept nogil:
    """Where in the list a prefix is; -1: nowhere."""
    cdef uint32_t i
    for i in range(count):
        if prefixes[i].ip_len == ip_len and prefixes[i].cidr == cidr and memcmp(prefixes[i].ip, ip, ip_len) == 0:
            return <int>i
    return -1


cdef int longest(const uint8_t *ip, int ip_len) noexcept nogil:
    """The owner that the list has for an address; -1: none."""
    cdef int owner = -1, cidr = -1
    cdef uint32_t i
    for i in range(count):
        if (prefixes[i].ip_len == ip_len and prefixes[i].cidr > cidr
                and holds(prefixes[i].ip, prefixes[i].cidr, ip)):
            cidr = prefixes[i].cidr
            owner = prefixes[i].owner
    return owner


cdef void forget(uint32_t i) noexcept nogil:
    global count
    count -= 1
    prefixes[i] = prefixes[count]


cdef void insert(const uint8_t *ip, int ip_len, int cidr, int owner) noexcept nogil:
    global count, given, room
    cdef uint8_t masked[16]
    cdef int at
    cdef uint32_t capacity = table.capacity
    memcpy(masked, ip, 16)
    clear_host_bits(masked, cidr)
    at = find(masked, ip_len, cidr)
    if at < 0 and count == MOST:
        return
    need(allowedips_insert(table, ip, ip_len, cidr, &owners[owner]) == 0, b"no memory")
    if room and at < 0:
        room -= 1
        need(table.capacity == capacity, b"memory for a prefix that was reserved")
    given += 1
    if at < 0:
        at = <int>count
        count += 1
        prefixes[at].order = given
    elif prefixes[at].owner != owner:
        prefixes[at].order = given
    memcpy(prefixes[at].ip, masked, 16)
    prefixes[at].ip_len = ip_len
    prefixes[at].cidr = cidr
    prefixes[at].owner = owner


cdef void remove(const uint8_t *ip, int ip_len, int cidr, int owner) noexcept nogil:
    cdef uint8_t masked[16]
    cdef int at
    memcpy(masked, ip, 16)
    clear_host_bits(masked, cidr)
    at = find(masked, ip_len, cidr)
    if at >= 0 and prefixes[at].owner != owner:
        at = -1
    need(allowedips_remove(table, ip, ip_len, cidr, &owners[owner]) == (at >= 0), b"a prefix taken from nobody")
    if at >= 0:
        forget(at)


cdef void remove_owner(int owner) noexcept nogil:
    cdef uint32_t i = 0
    allowedips_remove_owner(table, &owners[owner])
    while i < count:
        if prefixes[i].owner == owner:
            forget(i)
        else:
            i += 1
    need(owners[owner].count == 0 and owners[owner].first == NULL, b"an owner that keeps a prefix")


cdef void look_up(const uint8_t *ip, int ip_len) noexcept nogil:
    cdef AllowedOwner *found = allowedips_lookup(table, ip, ip_len)
    cdef int owner = longest(ip, ip_len)
    cdef int i
    need(found == (&owners[owner] if owner >= 0 else NULL), b"another owner of an address")
    for i in range(OWNERS):
        need(allowedips_is_of(table, &owners[i], ip, ip_len) == (i == owner), b"an address is of another owner")


cdef void list_owner(int owner) noexcept nogil:
    """As allowedips_walk() goes: each prefix once, in the order in which they came."""
    cdef const AllowedNode *node = owners[owner].first
    cdef uint32_t left = owners[owner].count, mine = 0, i
    cdef uint64_t before = 0
    cdef uint8_t ip[16]
    cdef int at, k
    for i in range(count):
        mine += prefixes[i].owner == owner
    need_equal(left, mine, b"an owner's prefixes")
    while left > 0:
        left -= 1
        for k in range(8):
            ip[k] = <uint8_t>(node.high >> (56 - 8 * k))
            ip[8 + k] = <uint8_t>(node.low >> (56 - 8 * k))
        at = find(ip, node.ip_len, node.cidr)
        need(at >= 0 and prefixes[at].owner == owner, b"a prefix that is listed and was not given")
        need(prefixes[at].order > before, b"prefixes in another order")
        before = prefixes[at].order
        node = node.next
    need(node == owners[owner].first, b"a ring that does not close")


cdef uint32_t in_tree(const AllowedNode *node, uint32_t *owned) noexcept nogil:
    """Nodes from this one on. A fork without an owner has two sides; each side is longer, and below its fork."""
    cdef uint32_t nodes = 1
    cdef int side
    if node == NULL:
        return 0
    owned[0] += node.owner != NULL
    need(node.owner != NULL or (node.child[0] != NULL and node.child[1] != NULL), b"a node that nothing needs")
    for side in range(2):
        if node.child[side] != NULL:
            need(node.child[side].cidr > node.cidr, b"a prefix below a longer one")
            nodes += in_tree(node.child[side], owned)
    return nodes


cdef void memory_is_counted() noexcept nogil:
    cdef const AllowedNode *node = table.free_nodes
    cdef uint32_t owned = 0, waiting = 0
    cdef uint32_t nodes = in_tree(table.root4, &owned) + in_tree(table.root6, &owned)
    need_equal(table.prefixes, count, b"prefixes in use")
    need_equal(owned, count, b"prefixes in the tree")
    need_equal(table.nodes, nodes, b"nodes in use")
    while node != NULL:
        waiting += 1
        node = node.next
    waiting += table.chunk_len - table.chunk_used
    need_equal(nodes + waiting, table.capacity, b"nodes that there is memory for")
    need(count > 0 or table.reserved or table.chunks == NULL, b"an empty trie that keeps its memory")


cdef void reserve(uint32_t more) noexcept nogil:
    global room
    need(allowedips_reserve(table, more) == 0, b"no memory")
    room = max(room, more)


cdef void unreserve() noexcept nogil:
    global room
    allowedips_unreserve(table)
    room = 0


cdef void start() noexcept nogil:
    global table, count, given, room
    allowedips_free(table)
    table = allowedips_new()
    need(table != NULL, b"no memory")
    memset(owners, 0, sizeof(owners))
    count = room = 0
    given = 0


cdef void read_address(Input *input, uint8_t *ip, int ip_len, uint32_t shape) noexcept nogil:
    """Few of the addresses that there are, so that they meet."""
    memset(ip, 0, 16)
    if shape == 0:
        input_bytes(input, ip, ip_len)
    elif shape == 1:
        ip[0] = <uint8_t>input8(input)
    elif shape == 2:
        ip[ip_len // 2 - 1] = <uint8_t>input8(input)
        ip[ip_len // 2] = <uint8_t>input8(input)
    else:
        memset(ip, 0xFF, ip_len)
        ip[ip_len - 1] = <uint8_t>input8(input)


cdef int one(const uint8_t *data, size_t size) noexcept nogil:
    """Steps: a byte for what is done and by whom, one for the length, and an address."""
    cdef Input input
    cdef uint8_t ip[16]
    cdef uint32_t step
    cdef int ip_len, cidr, owner
    input_start(&input, data, size)
    start()
    while input_left(&input):
        step = input8(&input)
        ip_len = 16 if step & 1 else 4
        owner = <int>(step >> 1) % OWNERS
        step = (step >> 1) // OWNERS
        if step % 16 == 15:
            remove_owner(owner)
            continue
        if step % 16 == 14:
            step = input8(&input)
            if step:
                reserve(step)
            else:
                unreserve()
            continue
        cidr = <int>input_below(&input, 8 * ip_len + 1)
        read_address(&input, ip, ip_len, step & 3)
        if step % 16 < 8:
            insert(ip, ip_len, cidr, owner)
        elif step % 16 < 12:
            remove(ip, ip_len, cidr, owner)
        look_up(ip, ip_len)
    for owner in range(OWNERS):
        list_owner(owner)
    memory_is_counted()
    return 0


def address(str _aead: str) -> int:
    """Where the target is."""
    return <uintptr_t>&one
