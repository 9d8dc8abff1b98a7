"""pywg for programs: a tunnel in `async with`, its peers, events, statistics and keys. docs/python.md is its guide.

`pywg.Tunnel` and the other names here are had from `pywg` itself, which loads this when the first of them is used.
"""

from pywg.api.events import Events
from pywg.api.given import Address, Config, Endpoint, Key
from pywg.api.tunnel import Tunnel
from pywg.config.model import ZERO_KEY, DeviceStatus, PeerStatus
from pywg.config.uapi_event_reader import Event
from pywg.config.wg_quick import InterfaceSection, PeerSection, WgQuickConfig
from pywg.errors import (
    ConfigError,
    DeviceError,
    PywgError,
    TunnelClosedError,
    TunnelGoneError,
    WgQuickError,
)
from pywg.manage.sight import Sight
from pywg.manage.tunnel.transaction import StepError
from pywg.manage.verdict import State, Verdict, verdict

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
    "verdict",
]
