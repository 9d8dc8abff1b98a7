"""The configuration socket of a daemon that was killed, on which nobody listens."""

import errno
import socket
from pathlib import Path


def lies_at(path: str | Path) -> None:
    """Makes one, unless it is there already. `wg show interfaces`, which wg-quick calls, removes all of the machine's:
    those of another session of tests, too."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.bind(str(path))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
