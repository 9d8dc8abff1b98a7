"""Floor 3: what the threads and the control plane share: peers, keypairs, routes, windows, counters, events."""
