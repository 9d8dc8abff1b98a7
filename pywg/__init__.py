"""WireGuard in user space for Linux: a drop-in replacement for wireguard-go with a Cython data plane."""

__version__ = "0.1.0"
