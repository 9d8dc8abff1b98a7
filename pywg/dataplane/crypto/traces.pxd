"""What secret work leaves on its thread's stack and in its vector registers, wiped: once a batch, and once a turn.

Compilers spill keys, and libraries keep powers of them in registers, which stay there while the thread sleeps: a memory
image has them, and so has the next signal frame.
"""
cdef enum:
    TRACES_CALL = 8 << 10       # more stack than calls of the data plane and of libcrypto take
    TRACES_TURN = 64 << 10      # more than Python and libcrypto take for a handshake

cdef void traces_forget(size_t stack) noexcept nogil
