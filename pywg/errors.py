"""One tree for everything pywg raises on purpose.

Hostile datagrams are not among the causes: the tunnel turns a `RemoteProtocolError` into one counted reason and goes
on.
"""

from errno import ENODEV


class PywgError(Exception):
    """The root of the tree."""


class ConfigError(PywgError, ValueError):
    """A setting that can't be: names the key, address or number that is wrong."""


class WgQuickError(ConfigError):
    """A wg-quick file that can't be read.

    `file` is the file's name as it was given, `line` and `column` are 1-based, `message` is the text without them.
    `excerpt`: the line, what may be a key in it hidden, and below it a caret under the column; "" when there is none.
    """

    def __init__(self, message: str, *, file: str, line: int, column: int = 1, excerpt: str = "") -> None:
        super().__init__(f"{file}:{line}:{column}: {message}")
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.excerpt = excerpt


class UapiError(ConfigError):
    """A UAPI request that is refused. `errno` is positive here; the wire has its negative."""

    def __init__(self, message: str, *, errno: int) -> None:
        super().__init__(message)
        self.errno = errno


class ProtocolError(PywgError):
    """A rule of the protocol was broken, by one of the two ends."""


class LocalProtocolError(ProtocolError):
    """The caller's mistake: a peer added twice, our own key as a peer, an unknown peer."""


class RemoteProtocolError(ProtocolError):
    """The other end's mistake, or a forgery. `reason` is the short fixed name it is counted under.

    `public_key`: the static key of the end it is about, as far as that is known.
    """

    def __init__(self, reason: str, public_key: bytes | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.public_key = public_key


class DeviceError(PywgError, OSError):
    """The system refused something: `errno`, and a message that says what to do about it."""


class NoDaemonError(DeviceError):
    """No daemon answers for the interface of this name, and none has left a socket behind."""

    def __init__(self, errno: int, text: str, interface: str) -> None:
        super().__init__(errno, text)
        self.interface = interface


class TunError(DeviceError):
    """The TUN interface can't be had, or failed."""


class BindError(DeviceError):
    """The UDP sockets can't be had."""


class TunnelGoneError(DeviceError):
    """What served a program's tunnel serves it no more, though the program has not ended it."""

    @classmethod
    def of(cls, interface: str) -> "TunnelGoneError":
        """The error about this interface."""
        return cls(ENODEV, f"{interface} is served no more: its daemon has ended, or another program has removed it")


class TunnelClosedError(PywgError, RuntimeError):
    """The caller's mistake: a tunnel that is used outside its `async with`, or in a child of fork()."""
