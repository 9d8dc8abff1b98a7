"""Names of network interfaces: what the kernel's dev_valid_name() takes, and a message can show. The command line
checks a name before it loads anything else, so nothing is imported here that takes time."""

import os

INTERFACE_NAME_MAX = 15
"""Bytes: IFNAMSIZ without its zero."""


def interface_name_fault(name: str) -> str:
    """The rule that the name breaks, in words to follow "an interface's name"; "" for one that the kernel takes."""
    if not 0 < len(os.fsencode(name)) <= INTERFACE_NAME_MAX:
        return f"has 1 to {INTERFACE_NAME_MAX} bytes"
    if name in {".", ".."} or any(character in "/:\0" or character.isspace() for character in name):
        return "is not '.' or '..', and has no '/', no ':' and no space"
    if not name.isprintable():  # the kernel takes it, but a message that names it would move a terminal's cursor
        return "has printable characters only"
    return ""
