"""WireGuard in user space for Linux: a drop-in replacement for wireguard-go with a Cython data plane.

Programs use `pywg.Tunnel`: docs/python.md. Importing this loads nothing of it yet, as every command does that first.
"""

__version__ = "0.2.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywg.api import (
        ZERO_KEY,
        Address,
        Config,
        ConfigError,
        DeviceError,
        DeviceStatus,
        Endpoint,
        Event,
        Events,
        InterfaceSection,
        Key,
        PeerSection,
        PeerStatus,
        PywgError,
        Sight,
        State,
        StepError,
        Tunnel,
        TunnelClosedError,
        TunnelGoneError,
        Verdict,
        WgQuickConfig,
        WgQuickError,
        verdict,
    )

__all__ = [
    "ZERO_KEY",
    "Address",
    "Config",
    "ConfigError",
    "DeviceError",
    "DeviceStatus",
    "Endpoint",
    "Event",
    "Events",
    "InterfaceSection",
    "Key",
    "PeerSection",
    "PeerStatus",
    "PywgError",
    "Sight",
    "State",
    "StepError",
    "Tunnel",
    "TunnelClosedError",
    "TunnelGoneError",
    "Verdict",
    "WgQuickConfig",
    "WgQuickError",
    "__version__",
    "verdict",
]

if not TYPE_CHECKING:

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module 'pywg' has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - a command needs none of it

        return getattr(import_module("pywg.api"), name)
