"""A daemon from its start to its end: options, parts, service manager and timers."""
