"""Leaves the cipher out of a copy of the sources, to measure all else that a packet costs. For the bench alone.

Both bodies of evp.pxd are replaced: sealing and opening then succeed at once, and move the text only where the cipher
would have. The batch kernels no longer agree with them, so that they are not chosen when the module is imported.
"""

import re

FILE = "pywg/dataplane/crypto/evp.pxd"

_FUNCTION = re.compile(r"^cdef inline bint (evp_\w+)\(([^)]*)\) noexcept nogil:\n(?:(?:[ \t]+.*)?\n)+", re.M)
_POINTER = re.compile(r"(const )?uint8_t \*(\w+)")
_CIMPORT = "from libc.string cimport memcpy\n"


def without_cipher(source: str) -> str:
    """The text of evp.pxd with bodies that do nothing. ValueError when it is not as this module knows it."""
    found = {match[1]: _emptied(match) for match in _FUNCTION.finditer(source)}
    if set(found) != {"evp_seal", "evp_open"}:
        raise ValueError(f"{FILE} has {sorted(found)} instead of evp_seal and evp_open")
    emptied = _FUNCTION.sub(lambda match: found[match[1]], source)
    first_import = emptied.index("\nfrom ") + 1
    return emptied[:first_import] + _CIMPORT + emptied[first_import:]


def _emptied(match: re.Match[str]) -> str:
    name, parameters = match[1], match[2]
    pointers = [(bool(const), pointer) for const, pointer in _POINTER.findall(parameters)]
    head = f"cdef inline bint {name}({parameters}) noexcept nogil:\n"
    match sorted(pointers, reverse=True):
        case [(False, _)]:
            return f"{head}    return True\n\n\n"
        case [(True, source), (False, target)] if "text_len" in parameters:
            return f"{head}    memcpy({target}, {source}, text_len)\n    return True\n\n\n"
    raise ValueError(f"{name} takes other buffers than this module knows: {parameters}")
