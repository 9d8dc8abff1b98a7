"""What an operator may have meant by the name of an interface that is not up."""

import os

from pywg.manage.client import served_here
from pywg.manage.names import CONFIGURATIONS

_SHOWN = 8


def what_is_up(interface: str, *, configurations: str = CONFIGURATIONS) -> str:
    """What goes on a sentence "NAME is not up": that it has no file either, and what is up.

    "" where it has a file, or nothing is up, or the caller may not look.
    """
    file = os.path.join(configurations, f"{interface}.conf")
    if os.path.exists(file) or (os.path.exists(configurations) and not os.access(configurations, os.X_OK)):
        return ""
    names = served_here()
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f", and it has no file in {configurations}; what is up: {', '.join(names[:_SHOWN])}{more}"
