"""What every wing stands on: the log, the clocks, calls of libc, and what can go wrong."""
