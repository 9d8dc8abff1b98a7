"""A program that holds one end's TUN and starts daemons on it, as an upgrade does."""

import os
import signal
import socket
import subprocess
from collections.abc import Mapping

from bench.tunnel.implementations import find
from bench.tunnel.lab import Lab
from bench.tunnel.site import Site, poll

PATIENCE_S = 30.0


class Supervisor:
    """Of the near site. `close` ends what still runs."""

    def __init__(self, lab: Lab, tun_fd: int | None = None) -> None:
        self.lab = lab
        self.site: Site = lab.near
        self.tun_fd = tun_fd
        self.daemons: list[subprocess.Popen[bytes]] = []

    def start(self, environ: Mapping[str, str], *, fds: tuple[int, ...] = (), command: tuple[str, ...] = ()) -> None:
        """Starts a daemon in the site's namespace and waits until it answers."""
        program = [*command, *find("pywg").command, self.site.interface]
        with self.site.namespace.entered():
            daemon = subprocess.Popen(
                program, env={**os.environ, **environ}, pass_fds=fds, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self.daemons.append(daemon)
        poll(self._answers, "the daemon answers")

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.site.uapi_socket))
                client.sendall(b"get=1\n\n")
                return client.recv(4096).endswith(b"errno=0\n\n")
            except OSError:
                return False

    def start_on_tun(self) -> None:
        """The next daemon takes the TUN by WG_TUN_FD."""
        assert self.tun_fd is not None
        self.start({"WG_TUN_FD": str(self.tun_fd)}, fds=(self.tun_fd,))

    def stop(self, number: signal.Signals) -> None:
        """Ends the present daemon."""
        daemon = self.daemons[-1]
        daemon.send_signal(number)
        assert daemon.wait(PATIENCE_S) == (0 if number is signal.SIGTERM else -number)

    def configure_again(self) -> None:
        """Key, port and peer, as `wg setconf` would; addresses and link state are the interface's own."""
        near, far = self.site, self.lab.far
        key = near.secret_file("key", near.keys.private)
        near.wg("set", near.interface, "listen-port", "51820", "private-key", key)
        near.add_peer(far, endpoint=4)

    def link(self) -> str:
        """What `ip` says of the interface and its addresses: index, flags, MTU, state."""
        interface = self.site.interface
        return self.site.ip("-o", "link", "show", interface) + self.site.ip("-o", "address", "show", interface)

    def close(self) -> None:
        """Ends what still runs."""
        for daemon in self.daemons:
            daemon.kill()
            daemon.wait()
        if self.tun_fd is not None:
            os.close(self.tun_fd)
            self.tun_fd = None
