"""Floor 4: what the threads and the control plane share: peers, keypairs, routes, windows, counters, events."""
