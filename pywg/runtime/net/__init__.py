"""What only Linux has: the TUN, UDP sockets and their binding, links, routes, ICMP, and the release of the kernel."""
