"""Floor 5: the outer sockets, in batches, with their offloads."""
