"""A budget: a bounded share of a thread's time for one kind of work, measured, with a few milliseconds in advance.

The share is half, and less while the thread has more to do than it can: messages of any kind are lost then. The work is
done while there is credit, and its time is taken off afterwards. All zeros is an empty budget. For one thread.
"""
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    BUDGET_SHARE_LOG2 = 1           # half of the time,
    BUDGET_PRESSED_LOG2 = 3         # or an eighth under pressure, until the thread has caught up
    BUDGET_MOST_NS = 4_000_000      # of credit, and of debt: a thread that lost its processor meanwhile goes on soon


cdef struct Budget:
    int64_t credit_ns
    uint64_t last_ns


cdef inline bint budget_allows(Budget *budget, uint64_t now, bint pressure) noexcept nogil:
    """Whether there is time for some of the work now. `now`: ns, never going back; `pressure`: since the last call."""
    cdef uint64_t earned = (now - budget.last_ns) >> (BUDGET_PRESSED_LOG2 if pressure else BUDGET_SHARE_LOG2)
    budget.last_ns = now
    budget.credit_ns += <int64_t>min(earned, <uint64_t>(2 * BUDGET_MOST_NS))
    if budget.credit_ns > BUDGET_MOST_NS:
        budget.credit_ns = BUDGET_MOST_NS
    return budget.credit_ns > 0


cdef inline void budget_spend(Budget *budget, uint64_t spent_ns) noexcept nogil:
    budget.credit_ns -= <int64_t>min(spent_ns, <uint64_t>(2 * BUDGET_MOST_NS))
    if budget.credit_ns < -BUDGET_MOST_NS:
        budget.credit_ns = -BUDGET_MOST_NS
