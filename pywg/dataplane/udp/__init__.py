"""Floor 4: the outer sockets, in batches, with their offloads."""
