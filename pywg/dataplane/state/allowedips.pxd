"""Allowed IPs: which peer owns an inner address (cryptokey routing, paper section 2).

A path-compressed binary trie for each address family, like the kernel's. An address is held left-aligned in two words,
so IPv4 and IPv6 share everything but the lookup. A node fills one cache line. The lookups are here to be inlined into
the packet path; changes to the trie are in allowedips.pyx. Nothing here locks: the caller makes sure that a change
excludes lookups and other changes.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* Big-endian words at any alignment. */
    static inline uint64_t pywg_load_be32_high(const uint8_t *at) {
        uint32_t word;
        memcpy(&word, at, sizeof word);
        return (uint64_t)__builtin_bswap32(word) << 32;
    }
    static inline uint64_t pywg_load_be64(const uint8_t *at) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        return __builtin_bswap64(word);
    }
    static inline void pywg_store_be64(uint8_t *at, uint64_t word) {
        word = __builtin_bswap64(word);
        memcpy(at, &word, sizeof word);
    }
    """
    uint64_t load_be32_high "pywg_load_be32_high"(const uint8_t *at) noexcept nogil
    uint64_t load_be64 "pywg_load_be64"(const uint8_t *at) noexcept nogil
    void store_be64 "pywg_store_be64"(uint8_t *at, uint64_t word) noexcept nogil
    int count_leading_zeros "__builtin_clzll"(unsigned long long word) noexcept nogil


cdef struct AllowedOwner


cdef struct AllowedNode:
    uint64_t high               # the prefix, left-aligned, zeros after it; IPv4 is the upper half of `high`
    uint64_t low
    AllowedNode *child[2]       # by the first bit after the prefix
    AllowedOwner *owner         # NULL: a fork in the trie, no prefix of its own
    AllowedNode *next           # the owner's other prefixes, a ring in the order they were given
    AllowedNode *previous
    uint16_t cidr
    uint16_t ip_len             # 4 or 16


# Embedded in the owner of prefixes (a peer). All zeros: owns none.
cdef struct AllowedOwner:
    AllowedNode *first
    uint32_t count


cdef struct AllowedIps:
    AllowedNode *root4
    AllowedNode *root6
    AllowedNode *chunks         # blocks of nodes; node 0 of each links to the one before it through `next`
    AllowedNode *free_nodes     # nodes given back, linked through `next`
    uint32_t chunk_len          # nodes in the newest chunk
    uint32_t chunk_used
    uint32_t capacity           # nodes that there is memory for
    uint32_t nodes              # in use, forks included
    uint32_t prefixes           # in use
    bint reserved               # a change goes on that memory is reserved for: none is given back


# Called with the GIL; an exception ends the walk and reaches its caller.
ctypedef int (*AllowedVisit)(const uint8_t *ip, int ip_len, int cidr, void *arg) except -1

cdef AllowedIps *allowedips_new() noexcept nogil
cdef int allowedips_reserve(AllowedIps *table, uint32_t prefixes) noexcept nogil
cdef void allowedips_unreserve(AllowedIps *table) noexcept nogil
cdef void allowedips_free(AllowedIps *table) noexcept nogil
cdef int allowedips_insert(
    AllowedIps *table, const uint8_t *ip, int ip_len, int cidr, AllowedOwner *owner) noexcept nogil
cdef bint allowedips_remove(
    AllowedIps *table, const uint8_t *ip, int ip_len, int cidr, AllowedOwner *owner) noexcept nogil
cdef void allowedips_remove_owner(AllowedIps *table, AllowedOwner *owner) noexcept nogil
cdef int allowedips_walk(const AllowedOwner *owner, AllowedVisit visit, void *arg) except -1


cdef inline int allowedips_common(uint64_t high, uint64_t low) noexcept nogil:
    """Leading zeros of a 128-bit difference: how many bits two addresses share."""
    if high:
        return count_leading_zeros(high)
    return 64 + count_leading_zeros(low) if low else 128


cdef inline int allowedips_bit(uint64_t high, uint64_t low, int at) noexcept nogil:
    """Bit `at` of a 128-bit address, counted from the left; any bit for 128, where no node has children."""
    return ((high if at < 64 else low) << (at & 63)) >> 63


cdef inline AllowedOwner *allowedips_below4(const AllowedNode *node, const uint8_t *ip) noexcept nogil:
    """The owner of the longest prefix, from this node on, that holds the 4 bytes at `ip`, or NULL."""
    cdef uint64_t key = load_be32_high(ip)
    cdef AllowedOwner *found = NULL
    # `| 1` keeps the operand of clz from being zero, and is behind every bit of an IPv4 address.
    while node != NULL and count_leading_zeros((key ^ node.high) | 1) >= node.cidr:
        if node.owner != NULL:
            found = node.owner
        node = node.child[(key << node.cidr) >> 63]     # a /32 has no children: its bit does not matter
    return found


cdef inline AllowedOwner *allowedips_below6(const AllowedNode *node, const uint8_t *ip) noexcept nogil:
    """The owner of the longest prefix, from this node on, that holds the 16 bytes at `ip`, or NULL."""
    cdef uint64_t high = load_be64(ip), low = load_be64(ip + 8)
    cdef AllowedOwner *found = NULL
    while node != NULL and allowedips_common(high ^ node.high, low ^ node.low) >= node.cidr:
        if node.owner != NULL:
            found = node.owner
        node = node.child[allowedips_bit(high, low, node.cidr)]
    return found


cdef inline AllowedOwner *allowedips_lookup(const AllowedIps *table, const uint8_t *ip, int ip_len) noexcept nogil:
    """The owner of the longest prefix that holds the address of 4 or 16 bytes, or NULL."""
    return allowedips_below4(table.root4, ip) if ip_len == 4 else allowedips_below6(table.root6, ip)


cdef inline bint allowedips_is_of(const AllowedIps *table, const AllowedOwner *owner, const uint8_t *ip,
                                  int ip_len) noexcept nogil:
    """Whether allowedips_lookup() finds this owner.

    A node that holds the address is on the way to it from the root. So the search begins at the owner's first prefix,
    if that holds it: of many owners, the nodes above would come from memory one after the other.
    """
    cdef const AllowedNode *first = owner.first
    cdef const AllowedOwner *found = NULL
    if first != NULL and first.ip_len == ip_len:
        found = allowedips_below4(first, ip) if ip_len == 4 else allowedips_below6(first, ip)
    return (found if found != NULL else allowedips_lookup(table, ip, ip_len)) == owner
