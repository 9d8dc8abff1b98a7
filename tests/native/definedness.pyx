"""What valgrind's memcheck is told and asked about bytes of this process. Without valgrind, nothing is undefined."""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

cdef extern from "<valgrind/memcheck.h>" nogil:
    unsigned int RUNNING_ON_VALGRIND
    unsigned int VALGRIND_COUNT_ERRORS
    int VALGRIND_MAKE_MEM_UNDEFINED(void *at, size_t len)
    int VALGRIND_MAKE_MEM_DEFINED(void *at, size_t len)


def here() -> bool:
    """Whether this process runs under valgrind."""
    return RUNNING_ON_VALGRIND != 0


def errors() -> int:
    """How often a branch or an address has depended on what is undefined, so far."""
    return VALGRIND_COUNT_ERRORS


def undefine(source) -> None:
    """The bytes are secret from now on, and so is what is computed from them."""
    cdef Py_buffer view
    PyObject_GetBuffer(source, &view, PyBUF_SIMPLE)
    VALGRIND_MAKE_MEM_UNDEFINED(view.buf, view.len)
    PyBuffer_Release(&view)


def define(source) -> None:
    """The bytes are known to everybody from now on."""
    cdef Py_buffer view
    PyObject_GetBuffer(source, &view, PyBUF_SIMPLE)
    VALGRIND_MAKE_MEM_DEFINED(view.buf, view.len)
    PyBuffer_Release(&view)
