"""The engine of the model (engine.h)."""
from libc.stdint cimport uint64_t

from pywg.dataplane.sys.linux cimport iovec, mmsghdr

cdef extern from "engine.h" nogil:
    struct Scenario "scenario":
        void (*setup)() noexcept nogil
        const char *(*end)() noexcept nogil
        short (*ready)(int fd, short events) noexcept nogil
        ssize_t (*read)(int fd, void *to, size_t room) noexcept nogil
        ssize_t (*writev)(int fd, const iovec *iov, int count) noexcept nogil
        int (*send)(int fd, mmsghdr *messages, unsigned int count) noexcept nogil
        int (*receive)(int fd, mmsghdr *messages, unsigned int count) noexcept nogil
        void (*relax)() noexcept nogil
    struct Options "options":
        int stale
        int races
        int preemptions
        int spurious
        uint64_t states_max
    struct Result "result":
        uint64_t states
        uint64_t transitions
        uint64_t ends
        uint64_t depth
        bint complete
        char *fault
        char *trail
    void model_explore(const Scenario *scenario, const Options *options, Result *result)
    void model_thread(const char *name, void *(*start)(void *) noexcept nogil, void *arg)
    void model_name(const void *at, size_t len, const char *name)
    void model_ignore(const void *at, size_t len)
    void *model_calloc(size_t count, size_t size)
    void model_free(void *at)
    int model_eventfd(unsigned int initial, int flags)
    int model_choose(int count, const char *what)
    int model_wait(int fd, short events)
    void model_step(const char *what)
    int model_self()
    void model_fault(const char *what)


cdef inline dict explored(const Scenario *scenario, const Options *options):
    """What the engine has found (scenarios.py, Explored), but for `reached`, which the drivers know."""
    cdef Result found
    with nogil:
        model_explore(scenario, options, &found)
    return {"states": found.states, "transitions": found.transitions, "ends": found.ends, "depth": found.depth,
            "complete": found.complete, "fault": found.fault.decode(), "trail": found.trail.decode()}
