"""Floor 2: the bytes on both sides: WireGuard's messages, the TUN's headers, IP, and a datagram's endpoint."""
