"""The budget (budget.pxd) for tests."""
from libc.stdint cimport uint64_t


def spend(work: list[tuple[int, int]], bint pressure=False) -> list[bool]:
    """Of each (time of arrival, time that the work takes), in ns: whether it is done. The arrivals never go back."""
    cdef Budget budget
    cdef list done = []
    cdef uint64_t now, needed
    cdef bint allowed
    budget.credit_ns = 0
    budget.last_ns = 0
    for now, needed in work:
        allowed = budget_allows(&budget, now, pressure)
        if allowed:
            budget_spend(&budget, needed)
        done.append(allowed)
    return done
