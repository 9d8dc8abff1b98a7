"""Floor 3: ChaCha20-Poly1305 in its backends, the MACs of handshake messages, and the memory that keys lie in."""
