"""Allowed IPs: changes to the trie of allowedips.pxd.

Every node with a prefix is in its owner's ring, so that an owner's prefixes are listed and removed without a look at
those of other owners. Nodes come from chunks that double in size. Removed nodes become free nodes, and an empty trie
gives back all of its memory, but not while a change goes on: it may fill the trie again, and must not fail then.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from posix.stdlib cimport posix_memalign

from pywg.dataplane.sys.checks cimport c_assert

cdef enum:
    CACHE_LINE = 64
    MIN_CHUNK = 64          # nodes: 4 KiB
    MAX_CHUNK = 1 << 15     # nodes: 2 MiB


cdef AllowedIps *allowedips_new() noexcept nogil:
    """An empty table, or NULL when there is no memory."""
    return <AllowedIps *>calloc(1, sizeof(AllowedIps))


cdef void allowedips_free(AllowedIps *table) noexcept nogil:
    """Frees the table and its nodes; owners that still have prefixes must not be used again. NULL is allowed."""
    if table == NULL:
        return
    free_chunks(table)
    free(table)


cdef int allowedips_insert(
    AllowedIps *table, const uint8_t *ip, int ip_len, int cidr, AllowedOwner *owner
) noexcept nogil:
    """Gives the prefix to `owner`, also if another owner has it; bits past `cidr` are ignored. Returns 0.

    -1, and no change, when there is no memory. The caller has checked that ip_len is 4 or 16, and cidr fits it.
    """
    cdef uint64_t high, low
    load_prefix(ip, ip_len, cidr, &high, &low)
    cdef AllowedNode **link = &table.root4 if ip_len == 4 else &table.root6
    cdef AllowedNode *node = link[0]
    cdef int common = 0
    while node != NULL:
        common = min(allowedips_common(high ^ node.high, low ^ node.low), cidr)
        if common < node.cidr:
            break
        if node.cidr == cidr:
            own(table, node, owner)
            return 0
        link = &node.child[allowedips_bit(high, low, node.cidr)]
        node = link[0]

    cdef AllowedNode *added = new_node(table, high, low, ip_len, cidr)
    cdef AllowedNode *fork = NULL
    if added == NULL:
        return -1
    if node == NULL:
        link[0] = added
    elif common == cidr:
        added.child[allowedips_bit(node.high, node.low, cidr)] = node
        link[0] = added
    else:
        load_mask(common, &high, &low)
        fork = new_node(table, node.high & high, node.low & low, ip_len, common)
        if fork == NULL:
            release_node(table, added)
            return -1
        fork.child[allowedips_bit(node.high, node.low, common)] = node
        fork.child[allowedips_bit(added.high, added.low, common)] = added
        link[0] = fork
    own(table, added, owner)
    return 0


cdef bint allowedips_remove(
    AllowedIps *table, const uint8_t *ip, int ip_len, int cidr, AllowedOwner *owner
) noexcept nogil:
    """Takes the prefix from `owner`; False when it is not there or another owner's."""
    cdef uint64_t high, low
    load_prefix(ip, ip_len, cidr, &high, &low)
    return remove_prefix(table, high, low, ip_len, cidr, owner)


cdef void allowedips_remove_owner(AllowedIps *table, AllowedOwner *owner) noexcept nogil:
    """Takes every prefix from `owner`."""
    cdef AllowedNode *node
    while owner.first != NULL:
        node = owner.first
        remove_prefix(table, node.high, node.low, node.ip_len, node.cidr, owner)


cdef int allowedips_walk(const AllowedOwner *owner, AllowedVisit visit, void *arg) except -1:
    """Calls `visit` with each prefix of `owner`, in the order they came to it. `visit` must not change the table.

    Stops early when `visit` returns non-zero, and returns that; 0 at the end.
    """
    cdef const AllowedNode *node = owner.first
    cdef uint8_t ip[16]
    cdef uint32_t left = owner.count
    cdef int stop
    while left > 0:
        left -= 1
        store_be64(ip, node.high)
        store_be64(ip + 8, node.low)
        stop = visit(ip, node.ip_len, node.cidr, arg)
        if stop:
            return stop
        node = node.next
    return 0


cdef bint remove_prefix(
    AllowedIps *table, uint64_t high, uint64_t low, int ip_len, int cidr, AllowedOwner *owner
) noexcept nogil:
    cdef AllowedNode **link = &table.root4 if ip_len == 4 else &table.root6
    cdef AllowedNode **parent_link = NULL
    cdef AllowedNode *node = link[0]
    while node != NULL and node.cidr < cidr and allowedips_common(high ^ node.high, low ^ node.low) >= node.cidr:
        parent_link = link
        link = &node.child[allowedips_bit(high, low, node.cidr)]
        node = link[0]
    if node == NULL or node.cidr != cidr or node.high != high or node.low != low or node.owner != owner:
        return False
    disown(table, node)
    drop_if_idle(table, link)
    # That may have left a fork above with only one side.
    if parent_link != NULL:
        drop_if_idle(table, parent_link)
    give_back(table)
    return True


cdef void drop_if_idle(AllowedIps *table, AllowedNode **link) noexcept nogil:
    """Takes a node without an owner out of the trie, unless it forks two subtrees."""
    cdef AllowedNode *node = link[0]
    if node == NULL or node.owner != NULL or (node.child[0] != NULL and node.child[1] != NULL):
        return
    link[0] = node.child[0] if node.child[0] != NULL else node.child[1]
    release_node(table, node)


cdef void own(AllowedIps *table, AllowedNode *node, AllowedOwner *owner) noexcept nogil:
    """Puts the node's prefix at the end of the owner's ring; a prefix that the owner has already stays in its place."""
    if node.owner == owner:
        return
    if node.owner != NULL:
        disown(table, node)
    if owner.first == NULL:
        node.next = node.previous = owner.first = node
    else:
        node.next = owner.first
        node.previous = owner.first.previous
        node.previous.next = node
        node.next.previous = node
    node.owner = owner
    owner.count += 1
    table.prefixes += 1


cdef void disown(AllowedIps *table, AllowedNode *node) noexcept nogil:
    cdef AllowedOwner *owner = node.owner
    node.previous.next = node.next
    node.next.previous = node.previous
    if owner.first == node:
        owner.first = node.next if node.next != node else NULL
    owner.count -= 1
    node.owner = NULL
    table.prefixes -= 1


cdef AllowedNode *new_node(AllowedIps *table, uint64_t high, uint64_t low, int ip_len, int cidr) noexcept nogil:
    """A node without owner or children, or NULL when there is no memory."""
    cdef AllowedNode *node = table.free_nodes
    if node != NULL:
        table.free_nodes = node.next
    else:
        if table.chunk_used == table.chunk_len and add_chunk(table) != 0:
            return NULL
        c_assert(table.chunk_used < table.chunk_len)
        node = &table.chunks[table.chunk_used]
        table.chunk_used += 1
    memset(node, 0, sizeof(AllowedNode))
    node.high = high
    node.low = low
    node.ip_len = ip_len
    node.cidr = cidr
    table.nodes += 1
    return node


cdef void release_node(AllowedIps *table, AllowedNode *node) noexcept nogil:
    node.next = table.free_nodes
    table.free_nodes = node
    table.nodes -= 1


cdef int add_chunk(AllowedIps *table) noexcept nogil:
    cdef uint32_t length = min(max(2 * table.chunk_len, <uint32_t>MIN_CHUNK), <uint32_t>MAX_CHUNK)
    cdef void *memory = NULL
    if posix_memalign(&memory, CACHE_LINE, length * sizeof(AllowedNode)) != 0:
        return -1
    cdef AllowedNode *chunk = <AllowedNode *>memory
    chunk.next = table.chunks
    table.chunks = chunk
    table.chunk_len = length
    table.chunk_used = 1
    table.capacity += length - 1
    return 0


cdef int allowedips_reserve(AllowedIps *table, uint32_t prefixes) noexcept nogil:
    """Allocates for so many inserts: until `allowedips_unreserve` they need no further memory. -1: no memory.

    Either way `allowedips_unreserve` has to follow.
    """
    table.reserved = True
    while table.capacity - table.nodes < 2 * <uint64_t>prefixes:    # a fork, and the prefix
        # The rest of a chunk would be lost when the next one is added.
        while table.chunk_used < table.chunk_len:
            table.chunks[table.chunk_used].next = table.free_nodes
            table.free_nodes = &table.chunks[table.chunk_used]
            table.chunk_used += 1
        if add_chunk(table) != 0:
            return -1
    return 0


cdef void allowedips_unreserve(AllowedIps *table) noexcept nogil:
    """The change has ended that memory was reserved for."""
    table.reserved = False
    give_back(table)


cdef void give_back(AllowedIps *table) noexcept nogil:
    """Frees the memory of an empty trie that nothing is reserved for."""
    if table.nodes == 0 and not table.reserved:
        free_chunks(table)


cdef void free_chunks(AllowedIps *table) noexcept nogil:
    """Frees all nodes; only for a trie that has none in use, or that is being freed."""
    cdef AllowedNode *chunk = table.chunks
    cdef AllowedNode *older
    while chunk != NULL:
        older = chunk.next
        free(chunk)
        chunk = older
    memset(table, 0, sizeof(AllowedIps))


cdef void load_prefix(const uint8_t *ip, int ip_len, int cidr, uint64_t *high, uint64_t *low) noexcept nogil:
    """The address in two left-aligned words, its host bits cleared."""
    cdef uint64_t high_mask, low_mask
    load_mask(cidr, &high_mask, &low_mask)
    high[0] = (load_be32_high(ip) if ip_len == 4 else load_be64(ip)) & high_mask
    low[0] = (0 if ip_len == 4 else load_be64(ip + 8)) & low_mask


cdef void load_mask(int cidr, uint64_t *high, uint64_t *low) noexcept nogil:
    cdef uint64_t ones = ~<uint64_t>0
    high[0] = ones if cidr >= 64 else ~(ones >> cidr)
    low[0] = 0 if cidr <= 64 else (ones if cidr == 128 else ~(ones >> (cidr - 64)))
