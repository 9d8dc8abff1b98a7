"""Parts that only Linux has: TUN, UDP sockets and their binding, links, routes, ICMP, and the kernel's release."""
