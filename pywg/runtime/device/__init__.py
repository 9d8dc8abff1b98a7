"""A WireGuard device: core, data plane and sockets, and what goes between them."""
