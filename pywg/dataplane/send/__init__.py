"""Floor 6: from the TUN to the UDP sockets: read, route, plan, cut, seal, send."""
