"""A WireGuard device: a core, a data plane and a pair of sockets, and what goes between them."""
