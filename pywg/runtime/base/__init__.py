"""The base of every wing: log, clocks, calls of libc, and the messages of failures."""
