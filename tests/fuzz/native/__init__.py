"""Drivers of the data plane in native code, under the sanitizers (python -m tests.fuzz.native)."""
