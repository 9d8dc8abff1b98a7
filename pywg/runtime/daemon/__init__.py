"""One daemon from its start to its end: its options, its parts, the service manager, and the timers."""
