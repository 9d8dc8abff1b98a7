"""Floor 1: the bytes on both sides: WireGuard's messages, the TUN's headers, IP, and where a datagram goes."""
