"""What the data plane knows, by itself: the trie of allowed IPs, and the replay window."""
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

cimport cython

from pywg.dataplane.state.allowedips cimport AllowedIps, AllowedOwner, allowedips_free, allowedips_insert
from pywg.dataplane.state.allowedips cimport allowedips_is_of, allowedips_lookup, allowedips_new, allowedips_remove
from pywg.dataplane.state.allowedips cimport allowedips_remove_owner, allowedips_walk
from pywg.dataplane.state.replay cimport ReplayWindow, replay_accept, replay_plausible


cdef struct TableOwner:
    AllowedOwner allowed        # first: what a lookup finds is the whole
    long long number


@cython.final
@cython.auto_pickle(False)
cdef class _Owner:
    cdef TableOwner c


@cython.final
cdef class Table:
    """The trie with integers (64 bits, signed) for owners. Addresses are packed: 4 or 16 bytes, else ValueError."""

    cdef AllowedIps *table
    cdef dict owners

    def __cinit__(self):
        self.owners = {}
        self.table = allowedips_new()
        if self.table == NULL:
            raise MemoryError

    def __dealloc__(self):
        allowedips_free(self.table)

    def insert(self, ip: bytes, cidr: int, owner: int) -> None:
        """Gives the prefix to `owner`, whoever had it; host bits are ignored. ValueError when `cidr` does not fit."""
        check_prefix(ip, cidr)
        cdef _Owner entry = self.owners.get(owner)
        if entry is None:
            entry = _Owner()
            entry.c.number = owner
            self.owners[owner] = entry
        if allowedips_insert(self.table, ip, len(ip), cidr, &entry.c.allowed) != 0:
            raise MemoryError

    def remove(self, ip: bytes, cidr: int, owner: int) -> bool:
        """Takes the prefix from `owner`; False when it is not there or someone else's."""
        check_prefix(ip, cidr)
        cdef _Owner entry = self.owners.get(owner)
        return entry is not None and allowedips_remove(self.table, ip, len(ip), cidr, &entry.c.allowed)

    def remove_owner(self, owner: int) -> None:
        """Takes every prefix from `owner`, who need not have any."""
        cdef _Owner entry = self.owners.pop(owner, None)
        if entry is not None:
            allowedips_remove_owner(self.table, &entry.c.allowed)

    def lookup(self, ip: bytes) -> int | None:
        """The owner of the longest prefix that holds `ip`."""
        check_prefix(ip, 0)
        cdef AllowedOwner *found = allowedips_lookup(self.table, ip, <int>len(ip))
        return None if found == NULL else (<TableOwner *>found).number

    def is_of(self, ip: bytes, owner: int) -> bool:
        """Whether the longest prefix that holds `ip` is `owner`'s."""
        check_prefix(ip, 0)
        cdef _Owner entry = self.owners.get(owner)
        return entry is not None and allowedips_is_of(self.table, &entry.c.allowed, ip, <int>len(ip))

    def entries(self, owner: int) -> list[tuple[bytes, int]]:
        """The owner's prefixes, (packed address, cidr), in the order they were given to it."""
        cdef _Owner entry = self.owners.get(owner)
        found = []
        if entry is not None:
            allowedips_walk(&entry.c.allowed, append_prefix, <void *>found)
        return found

    def __len__(self) -> int:
        """How many prefixes there are."""
        return self.table.prefixes

    def nodes(self) -> int:
        """How many trie nodes are in use: at most twice the prefixes, and none without any."""
        return self.table.nodes

    def capacity(self) -> int:
        """How many trie nodes there is memory for; none when there are no prefixes."""
        return self.table.capacity


cdef int append_prefix(const uint8_t *ip, int ip_len, int cidr, void *found) except -1:
    (<list>found).append((ip[:ip_len], cidr))
    return 0


cdef int check_prefix(bytes ip, int cidr) except -1:
    if len(ip) not in (4, 16):
        raise ValueError(f"an address has 4 or 16 bytes, not {len(ip)}")
    if not 0 <= cidr <= 8 * len(ip):
        raise ValueError(f"a prefix of {len(ip)} bytes has 0 to {8 * len(ip)} bits, not {cidr}")
    return 0


@cython.final
@cython.auto_pickle(False)
cdef class Window:
    """The counters one receiving key has seen (RFC 6479; 8192 bits, a counter may be 8128 behind the greatest)."""

    cdef ReplayWindow window

    def accept(self, counter) -> bool:
        """Marks `counter` as seen; False when it was, is too old or past the limit. OverflowError past 64 bits."""
        cdef uint64_t value = counter
        return replay_accept(&self.window, value)

    def plausible(self, counter) -> bool:
        """What `accept` would answer, without a change."""
        cdef uint64_t value = counter
        return replay_plausible(&self.window, value)

    def reset(self) -> None:
        """Forgets every counter."""
        memset(&self.window, 0, sizeof(ReplayWindow))
