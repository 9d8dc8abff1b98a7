"""Benchmarks and the lab they run in; nothing here is installed."""
